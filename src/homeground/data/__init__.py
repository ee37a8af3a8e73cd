"""Training data: rows from many places, cleaned and mixed before they are trained on."""

from homeground.data.contamination import Clean, Contaminated, Measured, Overlap, decontaminate
from homeground.data.duplicates import Distinct, Duplicate, distinct, fingerprint
from homeground.data.mixture import Mixing, Part, mix, shuffled
from homeground.data.redaction import Redacted, redact_examples
from homeground.data.sources import Reading, read_examples

__all__ = [
    "Clean",
    "Contaminated",
    "Distinct",
    "Duplicate",
    "Measured",
    "Mixing",
    "Overlap",
    "Part",
    "Reading",
    "Redacted",
    "decontaminate",
    "distinct",
    "fingerprint",
    "mix",
    "read_examples",
    "redact_examples",
    "shuffled",
]
