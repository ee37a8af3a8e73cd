"""The record of a look-up task, and how a search is judged by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from homeground.index import Hit

RANK_DEPTH = 10


class Split(StrEnum):
    """What a task may be used for."""

    TRAIN = "train"
    HELDOUT = "heldout"


@dataclass(frozen=True, slots=True)
class LookupTask:
    """One question with its verifiable answer.

    Attributes:
        id: hash of gold and question.
        question: the docstring's first paragraph, on one line.
        gold: "path::Symbol".
        path: posix path relative to `Index.base`: the root, or the folder above several.
        symbol: dotted name in that file.
        split: "train" or "heldout".
    """

    id: str
    question: str
    gold: str
    path: str
    symbol: str
    split: Split


def rank_of(hits: Sequence[Hit], task: LookupTask, depth: int = RANK_DEPTH) -> int | None:
    """Rank (1-based) of the task's symbol among the first `depth` hits of a query; None if it is not there."""
    for rank, hit in enumerate(hits[:depth], start=1):
        if hit.path == task.path and hit.symbol == task.symbol:
            return rank
    return None
