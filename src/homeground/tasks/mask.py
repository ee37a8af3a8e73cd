"""Chunks without the docstring that a question was made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from homeground.corpus import Chunk, digest
from homeground.tasks.docstrings import Docstring


def mask(chunks: Iterable[Chunk], docstring: Docstring) -> dict[str, Chunk]:
    """The chunks that hold a part of the docstring, by the id they had, each with that part blanked.

    Lines keep their numbers: a line inside the docstring becomes empty, code beside it stays. A function that was
    split into several chunks loses the docstring in each.

    Args:
        chunks: chunks of the docstring's file.
        docstring: what to take out.
    """
    masked: dict[str, Chunk] = {}
    for chunk in chunks:
        if chunk.end < docstring.start[0] or chunk.start > docstring.end[0]:
            continue
        text = "\n".join(
            _blanked(line, number, docstring) for number, line in enumerate(chunk.text.split("\n"), start=chunk.start)
        )
        if text != chunk.text:
            masked[chunk.id] = replace(chunk, id=digest("masked", chunk.id), text=text)
    return masked


def _blanked(line: str, number: int, docstring: Docstring) -> str:
    (first, left), (last, right) = docstring.start, docstring.end
    if not first <= number <= last:
        return line
    data = line.encode("utf-8", "surrogatepass")
    before = data[:left] if number == first else b""
    after = data[right:] if number == last else b""
    return (before + after).decode("utf-8", "surrogatepass").rstrip()
