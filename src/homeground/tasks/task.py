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
        question: the first sentence of the definition's documentation comment, on one line.
        gold: "path::Symbol".
        path: posix path relative to `Index.base`: the root, or the folder above several.
        symbol: dotted name in that file.
        split: "train" or "heldout".
        also: further golds that are as right: the same definition in a header, another class, another file.
    """

    id: str
    question: str
    gold: str
    path: str
    symbol: str
    split: Split
    also: tuple[str, ...] = ()

    def is_answered_by(self, path: str, symbol: str) -> bool:
        """True when this place is a right answer."""
        return (path, symbol) == (self.path, self.symbol) or f"{path}::{symbol}" in self.also


def rank_of(hits: Sequence[Hit], task: LookupTask, depth: int = RANK_DEPTH) -> int | None:
    """Rank (1-based) of the task's symbol among the first `depth` hits of a query; None if it is not there."""
    for rank, hit in enumerate(hits[:depth], start=1):
        if task.is_answered_by(hit.path, hit.symbol):
            return rank
    return None
