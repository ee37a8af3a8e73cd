"""Training data: rows of many formats from many places, and their way to trained tokens."""

from homeground.data.contamination import Clean, Contaminated, Measured, Overlap, decontaminate
from homeground.data.conversations import save_conversations
from homeground.data.duplicates import Distinct, Duplicate, distinct, fingerprint
from homeground.data.formats import Example, Format, RowError, example_of
from homeground.data.mixture import Mixing, Part, mix, shuffled
from homeground.data.redaction import Redacted, redact_examples
from homeground.data.rendering import Overlong, Rendering, refusal, render_as_asked, render_examples
from homeground.data.sources import Reading, Rejected, read_examples, without_nulls

__all__ = [
    "Clean",
    "Contaminated",
    "Distinct",
    "Duplicate",
    "Example",
    "Format",
    "Measured",
    "Mixing",
    "Overlap",
    "Overlong",
    "Part",
    "Reading",
    "Redacted",
    "Rejected",
    "Rendering",
    "RowError",
    "decontaminate",
    "distinct",
    "example_of",
    "fingerprint",
    "mix",
    "read_examples",
    "redact_examples",
    "refusal",
    "render_as_asked",
    "render_examples",
    "save_conversations",
    "shuffled",
    "without_nulls",
]
