"""The record of a search task, and how a list of hits is judged by it.

A task has a query and one or more answers. An answer is a run of lines, so that a hit of any chunker, ours or another,
is judged alike: it answers when it shows one of those lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from homeground.corpus import Chunk


class QueryKind(StrEnum):
    """Where a query comes from."""

    DOCSTRING = "docstring"
    HEADING = "heading"
    COMMIT = "commit"
    IDENTIFIER = "identifier"
    OWN = "own"


class Lines(Protocol):
    """A hit, as far as it is judged."""

    @property
    def path(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Lines that answer a query.

    Attributes:
        path: posix path relative to `Index.base`: the root, or the folder above several.
        symbol: what the lines are, for people.
        spans: first and last line of each run, 1-based, inclusive.
    """

    path: str
    symbol: str
    spans: tuple[tuple[int, int], ...]

    def shown_by(self, hit: Lines) -> bool:
        """Whether the hit shows one of the lines."""
        return hit.path == self.path and any(hit.start <= last and first <= hit.end for first, last in self.spans)


@dataclass(frozen=True, slots=True)
class SearchTask:
    """One query and everything that answers it."""

    id: str
    kind: QueryKind
    query: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class SearchTasks:
    """Tasks made from an index, and what the index must forget for them.

    Attributes:
        tasks: of all kinds.
        masks: for `Index.masked`: chunk without what the query was taken from, by the id of the chunk it replaces.
        missing: why a kind has no task, by kind.
        removed: commits that were left out, by reason.
    """

    tasks: list[SearchTask] = field(default_factory=list[SearchTask])
    masks: dict[str, Chunk] = field(default_factory=dict[str, Chunk])
    missing: dict[QueryKind, str] = field(default_factory=dict[QueryKind, str])
    removed: Counter[str] = field(default_factory=Counter[str])


def ranks_of(hits: Sequence[Lines], task: SearchTask) -> list[int | None]:
    """For each answer of the task the rank (1-based) of the first hit that shows it; None where no hit does."""
    return [
        next((rank for rank, hit in enumerate(hits, start=1) if answer.shown_by(hit)), None) for answer in task.answers
    ]


def answer_of(chunks: Iterable[Chunk], path: str, symbol: str) -> Answer:
    """The answer that the chunks of one symbol are."""
    return Answer(path, symbol, tuple((chunk.start, chunk.end) for chunk in chunks))
