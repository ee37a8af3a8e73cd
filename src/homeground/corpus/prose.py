"""Sections of documents: where text is cut, at its headings, else at blank lines."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from homeground.corpus.pieces import Piece, Ruler, Span

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


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


_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1* *$")
_FRONT_MATTER = {"---": ("---", "..."), "+++": ("+++",)}
_OTHER_BLOCK = re.compile(r"[-+*\u2022\u2023\u2043] |:[^: ][^:]*:(?: |$)|>>>(?: |$)|\| |\.\.(?: |$)|__(?: |$)")
_LEAST_UNDERLINE = 4  # columns; docutils takes a shorter line for a heading's only where it is as long as the title


def split_prose(lines: Sequence[str], headings: str | None, ruler: Ruler) -> list[Piece]:
    """Pieces that partition the lines: a section each where there are headings, paragraphs packed within.

    The symbol of a section is the path of its titles, joined by " > ".
    """
    trail = Trail()
    sections: list[Section] = []
    for row, level, title in _headings(lines, headings):
        trail.enter(level, title)
        sections.append(Section(row, trail.symbol))
    return split_sections(len(lines), sections, ruler)


def split_sections(count: int, sections: Sequence[Section], ruler: Ruler) -> list[Piece]:
    """Pieces that partition `count` lines, cut where sections begin, paragraphs packed within."""
    pieces: list[Piece] = []
    start, symbol = 0, ""
    for section in [*sections, Section(count, "")]:
        if section.row > start:
            span = Span(start, section.row)
            pieces.extend(ruler.pack(ruler.by_paragraph(span), symbol, "section" if symbol else "lines"))
        start, symbol = section.row, section.symbol
    return pieces


def _headings(lines: Sequence[str], headings: str | None) -> Iterator[tuple[int, int, str]]:
    """(row, level, title) of each heading."""
    if headings == "markdown":
        yield from markdown_headings(lines)
    elif headings == "rst":
        yield from rst_headings(lines)


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Blocks only: what is inside a paragraph or a title does not matter here.
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.disable(["reference"])  # a definition ends no section, and its rule takes a paragraph's lines one by one
    return parser


def markdown_headings(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(row, level, title) of each heading of a Markdown text by CommonMark's rules, YAML or TOML in front left out."""
    first = _after_front_matter(lines)
    tokens = _markdown().parse("\n".join(lines[first:]))
    for token, content in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map is not None:
            yield first + token.map[0], int(token.tag[1:]), " ".join(content.content.split())


def _after_front_matter(lines: Sequence[str]) -> int:
    ends = _FRONT_MATTER.get(lines[0].rstrip()) if lines else None
    if ends is None:
        return 0
    return next((row + 1 for row in range(1, len(lines)) if lines[row].rstrip() in ends), 0)


def rst_headings(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(row, level, title) of each heading of a reStructuredText, by the rules of docutils.

    A title stands at the margin, first in its paragraph, over a line of one punctuation mark that is as long as the
    title, or has at least four columns; one with such a line above as well may be indented. Levels are numbered in
    the order in which their styles appear.
    """
    styles: list[str] = []
    row = 0
    fresh = True  # whether a paragraph may begin here
    while row < len(lines):
        found = _title(lines, row) if fresh else None
        if found is not None:
            style, title, used = found
            if style not in styles:
                styles.append(style)
            yield row, styles.index(style) + 1, title
            row += used
        else:
            fresh = not lines[row].strip() or lines[row][0].isspace()
            row += 1


def _title(lines: Sequence[str], row: int) -> tuple[str, str, int] | None:
    """(style, title, lines it takes) of the heading that begins at a row, or None."""
    first, second, third = (lines[at].rstrip() if at < len(lines) else "" for at in (row, row + 1, row + 2))
    if _ADORNMENT.match(first):
        fits = first == third and second and not _ADORNMENT.match(second)
        return (2 * first[0], second.strip(), 3) if fits and _is_long_enough(first, second) else None
    if not first or first[0].isspace() or not _ADORNMENT.match(second) or _OTHER_BLOCK.match(first):
        return None
    return (second[0], first, 2) if _is_long_enough(second, first) else None


def _is_long_enough(line: str, title: str) -> bool:
    return len(line) >= min(_columns(title), _LEAST_UNDERLINE)


def _columns(text: str) -> int:
    """Width in a terminal: East Asian letters are two columns wide, combining marks none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )
