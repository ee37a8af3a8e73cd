"""Chunks without the comments that a question was made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from homeground.corpus import Chunk, digest
from homeground.corpus.documentation import Span


def mask(chunks: Iterable[Chunk], spans: Sequence[Span]) -> dict[str, Chunk]:
    """The chunks that hold a part of the spans, by the id they had, each with that part blanked.

    Lines keep their numbers: a line inside a span becomes empty, code beside it stays. A definition that was split
    into several chunks loses its comment in each.

    Args:
        chunks: chunks of one file.
        spans: places in that file, ends exclusive.
    """
    masked: dict[str, Chunk] = {}
    for chunk in chunks:
        lines = chunk.text.split("\n")
        for span in sorted(spans, reverse=True):  # columns before a blanked part stay what they were
            for number in range(max(span[0][0], chunk.start), min(span[1][0], chunk.end) + 1):
                at = number - chunk.start
                if at < len(lines):
                    lines[at] = _blanked(lines[at], number, span)
        if (text := "\n".join(lines)) != chunk.text:
            masked[chunk.id] = replace(chunk, id=digest("masked", chunk.id), text=text)
    return masked


def _blanked(line: str, number: int, span: Span) -> str:
    (first, left), (last, right) = span
    data = line.encode("utf-8", "surrogatepass")
    before = data[:left] if number == first else b""
    after = data[right:] if number == last else b""
    return (before + after).decode("utf-8", "surrogatepass").rstrip()
