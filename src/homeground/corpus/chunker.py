"""From a file's lines to chunks: split over the syntax tree, then merge, under a token budget.

Invariants, whatever the input: every non-blank line is in exactly one chunk, line numbers are exact, no chunk of
more than one line exceeds the budget, nothing is raised, and the same input gives the same ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from homeground.corpus.chunk import Chunk, digest
from homeground.corpus.grammar import parse
from homeground.corpus.languages import Language
from homeground.corpus.pieces import Piece, Ruler, TokenCounter
from homeground.corpus.prose import split_prose, split_sections
from homeground.corpus.sections import Section
from homeground.corpus.syntax import SyntaxSplitter

_SPECIAL_TOKENS = 2
_LEAST_BUDGET = 16
_WORDS = re.compile(r"[^\W_]+|[^\w\s]|_")


def approximate_tokens(lines: Sequence[str]) -> list[int]:
    """A cheap stand-in for a WordPiece tokenizer: one token for each mark, and for every four letters of a word."""
    return [sum(-(-len(word) // 4) for word in _WORDS.findall(line)) for line in lines]


def breadcrumb(path: str, symbol: str) -> str:
    """The line that tells an embedder where a chunk comes from."""
    return f"{path} {symbol}" if symbol else path


def chunk_lines(
    path: str,
    lines: Sequence[str],
    language: Language,
    *,
    max_tokens: int = 192,
    count: TokenCounter = approximate_tokens,
    sections: Sequence[Section] | None = None,
) -> list[Chunk]:
    """Chunks of one file, in order of their lines.

    Args:
        path: posix path relative to the root; part of every breadcrumb and id.
        lines: the file's lines without terminators (`Text.lines`).
        language: how to cut it.
        max_tokens: budget of a chunk: breadcrumb, text and the two special tokens of the embedder.
        count: tokens of each line, from the embedder's tokenizer.
        sections: where to cut a document, if its reader said so (`Text.sections`).
    """

    @cache
    def budget(symbol: str) -> int:
        return max(max_tokens - _SPECIAL_TOKENS - count([breadcrumb(path, symbol)])[0], _LEAST_BUDGET)

    ruler = Ruler(lines, count, budget)
    chunks: list[Chunk] = []
    seen: Counter[str] = Counter()
    pieces = _pieces(lines, language, ruler) if sections is None else split_sections(len(lines), sections, ruler)
    for piece in pieces:
        start, stop = piece.start, piece.stop
        while start < stop and ruler.blank[start]:
            start += 1
        while start < stop and ruler.blank[stop - 1]:
            stop -= 1
        if start == stop:
            continue
        text = "\n".join(lines[start:stop])
        content = digest(path, piece.symbol, text)
        seen[content] += 1
        chunks.append(
            Chunk(
                id=digest(content, str(seen[content])),
                path=path,
                start=start + 1,
                end=stop,
                symbol=piece.symbol,
                kind=piece.kind,
                language=language.name,
                header=breadcrumb(path, piece.symbol),
                text=text,
            )
        )
    return chunks


def _pieces(lines: Sequence[str], language: Language, ruler: Ruler) -> list[Piece]:
    syntax = parse(lines, language)
    if syntax is not None:
        pieces = SyntaxSplitter(syntax, ruler).split(len(lines))
        if _is_partition(pieces, len(lines)):
            return pieces
    return split_prose(lines, language.headings, ruler)


def _is_partition(pieces: Sequence[Piece], stop: int) -> bool:
    row = 0
    for piece in pieces:
        if piece.start != row or piece.stop <= row:
            return False
        row = piece.stop
    return row == stop
