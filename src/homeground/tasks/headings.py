"""Heading tasks: a section's title asks for the section, whose chunks no longer have the title."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from homeground.corpus import Chunk, digest
from homeground.tasks.queries import Answer, QueryKind, SearchTask, answer_of

_TRAIL = " > "
_LEAST_WORDS = 2
_LEAST_CHARS = 60


def heading_tasks(chunks: Iterable[Chunk]) -> list[tuple[SearchTask, dict[str, Chunk]]]:
    """A task, with its masks, for each section without sections of its own whose title no other section has.

    Titles of one word and sections of less than a line of text are left out: nothing could find them.

    Args:
        chunks: of any files; only sections are used.
    """
    sections: defaultdict[tuple[str, str], list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        if chunk.kind == "section":
            sections[chunk.path, chunk.symbol].append(chunk)
    times = Counter(_title(symbol).lower() for _, symbol in sections)
    inner = {(path, symbol.rpartition(_TRAIL)[0]) for path, symbol in sections}
    found: list[tuple[SearchTask, dict[str, Chunk]]] = []
    for (path, symbol), parts in sections.items():
        title = _title(symbol)
        if (path, symbol) in inner or times[title.lower()] > 1 or len(title.split()) < _LEAST_WORDS:
            continue
        masks = {chunk.id: _untitled(chunk) for chunk in parts}
        if sum(len(chunk.text.strip()) for chunk in masks.values()) < _LEAST_CHARS:
            continue
        found.append((_task(answer_of(parts, path, symbol), title), masks))
    return found


def _title(symbol: str) -> str:
    return symbol.rpartition(_TRAIL)[2]


def _task(answer: Answer, title: str) -> SearchTask:
    return SearchTask(digest(QueryKind.HEADING, answer.path, answer.symbol), QueryKind.HEADING, title, (answer,))


def _untitled(chunk: Chunk) -> Chunk:
    """The chunk without its section's title, in the text and in the breadcrumb; its lines keep their numbers."""
    title = _title(chunk.symbol)
    outer = chunk.symbol.rpartition(_TRAIL)[0]
    lines = ["" if line.strip("#=*-~ \t").startswith(title) else line for line in chunk.text.split("\n")]
    return replace(
        chunk,
        id=digest("untitled", chunk.id),
        # Without a symbol a search keeps it apart from the section around it.
        symbol="",
        header=chunk.header.replace(chunk.symbol, outer).replace(title, "").rstrip(),
        text="\n".join(lines),
    )
