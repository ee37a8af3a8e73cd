"""A Rich console for untrusted text: no markup, no emoji codes, no control characters but Rich's own.

If Rich parsed text as markup, a path with brackets that look like a closing tag would raise. Styles are given with
`rich.text.Text`, never inside a string.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from homeground.base.terminal import printable_lines


class Console(RichConsole):
    """Console on a stream.

    Args:
        stream: such as `sys.stderr`. A pipe has no width, so lines are not wrapped.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(
            file=stream, markup=False, emoji=False, highlight=False, width=None if stream.isatty() else 1000
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich does, with a visible mark in place of each character that the terminal would interpret."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)
