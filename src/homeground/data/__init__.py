"""Training data: rows of many formats from many places, and their way to trained tokens."""

from homeground.data.conversations import save_conversations
from homeground.data.formats import Example, Format, RowError, example_of
from homeground.data.rendering import Overlong, Rendering, render_examples
from homeground.data.sources import Reading, Rejected, read_examples

__all__ = [
    "Example",
    "Format",
    "Overlong",
    "Reading",
    "Rejected",
    "Rendering",
    "RowError",
    "example_of",
    "read_examples",
    "render_examples",
    "save_conversations",
]
