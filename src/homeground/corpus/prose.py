"""Cuts text at its headings, else at blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from homeground.corpus.pieces import Piece, Ruler, Span

_HASHES = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"([=\-`:.'\"~^_*+#<>])\1{2,}\s*$")


def split_prose(lines: Sequence[str], headings: str | None, ruler: Ruler) -> list[Piece]:
    """Pieces that partition the lines: a section each where there are headings, paragraphs packed within.

    The symbol of a section is the path of its titles, joined by " > ".
    """
    marks = list(_headings(lines, headings))
    pieces: list[Piece] = []
    trail: list[tuple[int, str]] = []
    start, symbol = 0, ""
    for row, level, title in [*marks, (len(lines), 0, "")]:
        if row > start:
            span = Span(start, row)
            pieces.extend(ruler.pack(ruler.by_paragraph(span), symbol, "section" if symbol else "lines"))
        while trail and trail[-1][0] >= level:
            trail.pop()
        trail.append((level, title))
        start, symbol = row, " > ".join(name for _, name in trail)
    return pieces


def _headings(lines: Sequence[str], headings: str | None) -> Iterator[tuple[int, int, str]]:
    """(row, level, title) of each heading."""
    if headings == "markdown":
        yield from _markdown(lines)
    elif headings == "rst":
        yield from _underlined(lines)


def _markdown(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    fence = ""
    for row, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark:
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence):
                fence = ""
        elif not fence and (heading := _HASHES.match(line)):
            yield row, len(heading[1]), heading[2]


def _underlined(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    levels: list[str] = []
    for row in range(1, len(lines)):
        title = lines[row - 1].rstrip()
        mark = _UNDERLINE.match(lines[row])
        if not mark or not title.strip() or _UNDERLINE.match(title) or len(lines[row].rstrip()) < len(title.strip()):
            continue
        overlined = row >= 2 and lines[row - 2].rstrip() == lines[row].rstrip()
        style = mark[1] * (2 if overlined else 1)
        if style not in levels:
            levels.append(style)
        yield row - (2 if overlined else 1), levels.index(style) + 1, title.strip()
