"""Lines as grep prints them: `path:line: text`, with colours on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.base.errors import HomegroundError
from homeground.base.terminal import printable

if TYPE_CHECKING:
    from homeground.index import Excerpt, Index

type Styled = tuple[str, str]
"""A piece of a line and its style; "" is plain."""

PATH, NUMBER, NAME, QUIET = "magenta", "green", "cyan", "dim"


def print_lines(lines: Iterable[Iterable[Styled]]) -> None:
    """Prints lines to stdout; never wraps or cuts them, whatever the window."""
    if not sys.stdout.isatty():  # rich costs a tenth of a second, and a pipe wants plain text
        for line in lines:
            print("".join(printable(text) for text, _ in line))
        return
    from rich.text import Text

    from homeground.base.console import Console

    console = Console(sys.stdout)
    for line in lines:
        console.print(Text.assemble(*((printable(text), style) for text, style in line)), soft_wrap=True)


def place(path: str, line: int, mark: str = ":") -> list[Styled]:
    """`path:line: `, or with "-" a line that only stands near."""
    return [(path, PATH), (mark, QUIET), (str(line), NUMBER), (f"{mark} ", QUIET)]


def numbered(read: Excerpt) -> Iterator[list[Styled]]:
    """What the tool `read` found, with line numbers."""
    width = len(str(read.end))
    for number, line in enumerate(read.text.split("\n"), read.start):
        yield [(f"{number:>{width}}", NUMBER), (": ", QUIET), (line, "")]


class ShownPaths:
    """Paths of an index as they can be opened from the current folder: relative below it, else absolute."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._here = Path.cwd()
        self._known: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        if path not in self._known:
            self._known[path] = self._shown(path)
        return self._known[path]

    def _shown(self, path: str) -> str:
        try:
            file = self._index.resolve(path)
        except HomegroundError:  # it has left the index since
            return path
        return str(file.relative_to(self._here)) if file.is_relative_to(self._here) else str(file)
