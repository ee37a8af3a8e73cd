"""Where the text of a document is cut."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """A run of lines that belong together, up to the next section.

    Attributes:
        row: its first line, from 0.
        symbol: its titles from the outermost, joined by " > ".
    """

    row: int
    symbol: str


class Trail:
    """The titles that a place in a document lies under."""

    def __init__(self) -> None:
        self._titles: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """A heading: it ends all others of its level and of the levels below."""
        while self._titles and self._titles[-1][0] >= level:
            self._titles.pop()
        self._titles.append((level, title))

    @property
    def titles(self) -> list[str]:
        return [title for _, title in self._titles if title]

    @property
    def symbol(self) -> str:
        return " > ".join(self.titles)
