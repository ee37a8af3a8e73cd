"""A Rich console for text from anywhere: no markup, no emoji codes, no control characters but Rich's own.

Text that Rich reads as markup is a traceback when brackets in a path happen to look like a closing tag. Styles are
given with `rich.text.Text`, never inside a string.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from homeground.base.terminal import printable_lines


class Console(RichConsole):
    """Draws on a stream.

    Args:
        stream: such as `sys.stderr`. In a pipe there is no window to fit into: lines stay whole.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(
            file=stream, markup=False, emoji=False, highlight=False, width=None if stream.isatty() else 1000
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As Rich does, with a mark for each character of a text that the terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)
