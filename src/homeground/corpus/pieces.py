"""Line ranges and how to pack them under a token budget."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Tokens of each of the given lines, without special tokens. Must be additive over lines, as WordPiece is."""


_CLOSING = re.compile(
    r"(?=\s*(?:[\])}>;,]|end|fi\b|done\b|esac\b|$))"
    r"\s*[\])}>;,]*(?:end\w*|fi|done|esac)?[\])};,.\s]*(?:(?://|--|#|/\*|\(\*).*)?$"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Lines [start, stop), 0-based."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A span that becomes one chunk."""

    start: int
    stop: int
    symbol: str
    kind: str


class Ruler:
    """Measures spans of one file.

    Args:
        lines: the file's lines.
        count: tokens of each line.
        budget: most tokens that a piece of the given symbol may have (its breadcrumb already taken off).
    """

    def __init__(self, lines: Sequence[str], count: TokenCounter, budget: Callable[[str], int]) -> None:
        self.blank = [not line.strip() for line in lines]
        self.indent = [len(line) - len(line.lstrip()) for line in lines]
        self.budget = budget
        self._lines = lines
        distinct = list(dict.fromkeys(lines))
        tokens = dict(zip(distinct, count(distinct), strict=True))
        self._sums = [0, *accumulate(tokens[line] for line in lines)]

    def tokens(self, span: Span | Piece) -> int:
        """Tokens of the span's lines."""
        return self._sums[span.stop] - self._sums[span.start]

    def is_blank(self, start: int, stop: int) -> bool:
        """True when no line of [start, stop) holds anything."""
        return all(self.blank[start:stop])

    def fits(self, span: Span, symbol: str) -> bool:
        """True when the span can be one piece of that symbol."""
        return self.tokens(span) <= self.budget(symbol)

    def by_line(self, span: Span) -> list[Span]:
        """One span a line."""
        return [Span(row, row + 1) for row in range(span.start, span.stop)]

    def by_paragraph(self, span: Span) -> list[Span]:
        """Runs of lines up to and including the blank lines that follow them."""
        spans: list[Span] = []
        start = span.start
        for row in range(span.start + 1, span.stop):
            if self.blank[row - 1] and not self.blank[row]:
                spans.append(Span(start, row))
                start = row
        spans.append(Span(start, span.stop))
        return spans

    def pack(self, spans: Sequence[Span], symbol: str, kind: str) -> list[Piece]:
        """Joins consecutive spans into as few pieces as the budget allows, of about equal size.

        A span that alone exceeds the budget is cut by lines; a single line is never cut.
        """
        budget = self.budget(symbol)
        small: list[Span] = []
        for span in spans:
            small.extend([span] if self.tokens(span) <= budget else self.by_line(span))
        if not small:
            return []
        total = sum(map(self.tokens, small))
        even = total / math.ceil(total / budget) if total > budget else budget
        pieces: list[Piece] = []
        start, held = small[0].start, 0
        for span in small:
            size = self.tokens(span)
            if span.start > start and (held + size > budget or held >= even):
                pieces.append(Piece(start, span.start, symbol, kind))
                start, held = span.start, 0
            held += size
        pieces.append(Piece(start, small[-1].stop, symbol, kind))
        return pieces

    def join(self, pieces: Sequence[Piece], alike: bool = False) -> list[Piece]:
        """Joins to the piece before it, where the budget allows, what nobody wants to find alone.

        Args:
            pieces: pieces that follow one another.
            alike: join pieces of one symbol without a blank line between them (overloads, equations of a function);
                else lines that only close something ("}", "end").
        """
        joined: list[Piece] = []
        for piece in pieces:
            last = joined[-1] if joined else None
            if last is not None and (self._continues(last, piece) if alike else self._closes(piece)):
                whole = Piece(last.start, piece.stop, last.symbol, last.kind)
                if self.fits(Span(whole.start, whole.stop), whole.symbol):
                    joined[-1] = whole
                    continue
            joined.append(piece)
        return joined

    def _closes(self, piece: Piece) -> bool:
        return all(_CLOSING.match(line) for line in self._lines[piece.start : piece.stop])

    def _continues(self, last: Piece, piece: Piece) -> bool:
        same = (last.symbol, last.kind) == (piece.symbol, piece.kind)
        return same and not self.blank[last.stop - 1] and not self.blank[piece.start]
