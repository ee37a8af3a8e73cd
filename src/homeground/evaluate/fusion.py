"""Weights of the fusion, fitted on tasks of the corpus: how much the embedding's score counts beside BM25's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from homeground.evaluate.search import CUT
from homeground.index import Stage

if TYPE_CHECKING:
    from homeground.corpus import Chunk
    from homeground.tasks.queries import SearchTask

GRID = tuple(round(0.05 * step, 2) for step in range(21))


@dataclass(frozen=True)
class FusionCase:
    """The candidates of one query.

    Attributes:
        dense: cosines, shape (candidates,), scaled to [0, 1] over them.
        lexical: BM25 scores, likewise.
        symbol: number of each candidate's symbol: a search shows one hit of each.
        right: whether it shows an answer.
    """

    dense: NDArray[np.float64]
    lexical: NDArray[np.float64]
    symbol: NDArray[np.int64]
    right: NDArray[np.bool_]

    def reciprocal_rank(self, dense_weight: float) -> float:
        """1 / rank of the first answer among the first ten symbols; 0 where it is not among them."""
        score = dense_weight * self.dense + (1 - dense_weight) * self.lexical
        seen: set[int] = set()
        for at in np.argsort(-score, kind="stable"):
            if int(self.symbol[at]) in seen:
                continue
            seen.add(int(self.symbol[at]))
            if len(seen) > CUT:
                return 0.0
            if self.right[at]:
                return 1 / len(seen)
        return 0.0


def fusion_cases(
    tasks: Iterable[SearchTask],
    candidates: Callable[[str], Mapping[str, Mapping[str, float]]],
    chunks: Iterable[Chunk],
    on_done: Callable[[int], None] = lambda _: None,
) -> list[FusionCase]:
    """What the fusion would have to rank for each task.

    Args:
        tasks: train tasks.
        candidates: scores by stage of every chunk that a search for a query weighs, by chunk id.
        chunks: of the same index.
        on_done: called after each task with 1.
    """
    known = {chunk.id: chunk for chunk in chunks}
    cases: list[FusionCase] = []
    for task in tasks:
        scores = candidates(task.query)
        found = [known[key] for key in scores]
        numbers: dict[tuple[str, str], int] = {}
        names = [(chunk.path, chunk.symbol or f":{chunk.start}") for chunk in found]
        cases.append(
            FusionCase(
                dense=_scaled([one[Stage.DENSE] for one in scores.values()]),
                lexical=_scaled([one[Stage.LEXICAL] for one in scores.values()]),
                symbol=np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64),
                right=np.array([any(answer.shown_by(chunk) for answer in task.answers) for chunk in found], dtype=bool),
            )
        )
        on_done(1)
    return cases


def fit_dense_weight(cases: Sequence[FusionCase], grid: Sequence[float] = GRID) -> tuple[float, dict[float, float]]:
    """The weight of the dense score (BM25 gets the rest) with the best mean reciprocal rank, and the mean of each.

    See `best_weight` for how means that are uneven by chance are compared.
    """
    means = {weight: float(np.mean([case.reciprocal_rank(weight) for case in cases])) for weight in grid}
    return best_weight(grid, lambda weight: [means[weight]]), means


def best_weight(grid: Sequence[float], reciprocal_ranks: Callable[[float], Sequence[float]]) -> float:
    """The weight of the grid with the best mean, after each mean was averaged with its neighbours': chance is uneven.

    Args:
        grid: weights, ascending.
        reciprocal_ranks: of every question with a weight.
    """
    means = [float(np.mean(reciprocal_ranks(weight))) for weight in grid]
    padded = [means[0], *means, means[-1]]
    smooth = [sum(padded[at : at + 3]) / 3 for at in range(len(means))]
    return grid[int(np.argmax(smooth))]


def _scaled(scores: Sequence[float]) -> NDArray[np.float64]:
    """As `index.fuse` scales a query's candidates."""
    values = np.array(scores, dtype=np.float64)
    spread = float(np.ptp(values)) if len(values) else 0.0
    return (values - values.min()) / spread if spread > 0 else np.zeros(len(values))
