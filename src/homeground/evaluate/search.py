"""How well a search finds what is known to be the answer: MRR@10, recall and nDCG@10 by kind of query, and latency.

A task may have several answers. Its reciprocal rank is that of the first one found, its recall the share of them found,
its nDCG that of Järvelin and Kekäläinen (2002) with relevance 0 or 1. What a commit changed is scored by F1 as well.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from homeground.evaluate.stats import Interval, format_interval, mean_interval, paired_difference
from homeground.tasks.queries import QueryKind, ranks_of

if TYPE_CHECKING:
    from homeground.index import Hit
    from homeground.tasks.queries import Lines, SearchTask

DEPTH = 50
CUT = 10
RECALLS = (1, 5, 10, 50)
HEADLINE = "mrr@10"
METRICS = (HEADLINE, *(f"recall@{k}" for k in RECALLS), "ndcg@10")
ALL = "all"


class ChangedF1(NamedTuple):
    """F1 of what a commit changed; `definitions` is None for a commit that changed none."""

    files: float
    definitions: float | None


def changed_f1(hits: Sequence[Lines], task: SearchTask) -> ChangedF1:
    """F1 on the files and on the definitions that a commit changed.

    Files are the first k different ones among the hits, definitions the first k hits, where k is the number of right
    ones, at most `CUT`. Precision is the share of the k that are right (fewer hits count as wrong ones), recall the
    share of the right ones that are among them.

    Args:
        hits: best first.
        task: its answers are the right ones; one without a symbol is a file alone.
    """
    right = {answer.path for answer in task.answers}
    k = min(len(right), CUT)
    first = list(dict.fromkeys(hit.path for hit in hits))[:k]
    shown = sum(path in right for path in first)
    files = _f1(shown / k, shown / len(right))
    answers = [answer for answer in task.answers if answer.symbol]
    if not answers:
        return ChangedF1(files, None)
    k = min(len(answers), CUT)
    top = hits[:k]
    precision = sum(any(answer.shown_by(hit) for answer in answers) for hit in top) / k
    recall = sum(any(answer.shown_by(hit) for hit in top) for answer in answers) / len(answers)
    return ChangedF1(files, _f1(precision, recall))


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What one stage made of one task.

    Attributes:
        task: its id.
        kind: of the query.
        ranks: of each answer among the first `DEPTH` hits, 1-based; None where it is not among them.
        seconds: the search took.
        changed: for a commit, F1 of what it changed.
    """

    task: str
    kind: str
    ranks: tuple[int | None, ...]
    seconds: float = 0.0
    changed: ChangedF1 | None = None

    def metrics(self) -> dict[str, float]:
        """Every metric of `METRICS`, each in [0, 1]."""
        found = sorted(rank for rank in self.ranks if rank is not None)
        answers = len(self.ranks)
        first = found[0] if found and found[0] <= CUT else None
        gain = sum(1 / math.log2(1 + rank) for rank in found if rank <= CUT)
        ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(answers, CUT) + 1))
        recalls = {f"recall@{k}": sum(rank <= k for rank in found) / answers for k in RECALLS}
        # Two answers in one hit would both count at its rank.
        return {HEADLINE: 1 / first if first else 0.0, **recalls, "ndcg@10": min(gain / ideal, 1.0)}


def outcomes_of(
    tasks: Iterable[SearchTask], search: Callable[[str, int], Sequence[Hit]], on_done: Callable[[int], None]
) -> list[SearchOutcome]:
    """One search a task, `DEPTH` hits deep; each is timed.

    Args:
        tasks: what to ask.
        search: (query, how many) to hits.
        on_done: called after each search with 1.
    """
    found: list[SearchOutcome] = []
    for task in tasks:
        began = time.perf_counter()
        hits = search(task.query, DEPTH)
        seconds = time.perf_counter() - began
        changed = changed_f1(hits, task) if task.kind is QueryKind.COMMIT else None
        found.append(SearchOutcome(task.id, str(task.kind), tuple(ranks_of(hits, task)), seconds, changed))
        on_done(1)
    return found


type ByKind = dict[str, dict[str, Interval]]


def search_metrics(outcomes: Sequence[SearchOutcome], *, resamples: int, seed: int) -> ByKind:
    """Mean and 95% interval of every metric, by kind of query and over all of them."""
    rows = [(one.kind, one.metrics()) for one in outcomes]
    kinds = [ALL, *sorted({kind for kind, _ in rows})]
    return {
        kind: {
            name: mean_interval(
                [values[name] for of, values in rows if kind in (ALL, of)], resamples=resamples, seed=seed
            )
            for name in METRICS
        }
        for kind in kinds
    }


def metrics_by_language(
    outcomes: Iterable[SearchOutcome], languages: Mapping[str, str], *, resamples: int, seed: int
) -> dict[str, Interval]:
    """Mean and 95% interval of MRR@10 by language, the one of most tasks first.

    Args:
        outcomes: of one stage.
        languages: of each task's first answer, by task id.
        resamples: of every interval.
        seed: of the resampling.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for one in outcomes:
        found[languages[one.task]].append(one.metrics()[HEADLINE])
    ordered = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return {name: mean_interval(values, resamples=resamples, seed=seed) for name, values in ordered}


def changed_metrics(outcomes: Iterable[SearchOutcome], *, resamples: int, seed: int) -> dict[str, Interval]:
    """Mean and 95% interval of F1 on files and on definitions over the commits; empty without any."""
    scores = [one.changed for one in outcomes if one.changed is not None]
    values = {
        "files": [one.files for one in scores],
        "definitions": [one.definitions for one in scores if one.definitions is not None],
    }
    return {name: mean_interval(of, resamples=resamples, seed=seed) for name, of in values.items() if of}


def search_difference(
    after: Iterable[SearchOutcome], before: Iterable[SearchOutcome], *, resamples: int, seed: int
) -> Interval:
    """Difference of MRR@10 task by task, with its interval.

    Raises:
        HomegroundError: the two did not see the same tasks.
    """
    return paired_difference(_headlines(after), _headlines(before), resamples=resamples, seed=seed)


def _headlines(outcomes: Iterable[SearchOutcome]) -> dict[str, float]:
    return {one.task: one.metrics()[HEADLINE] for one in outcomes}


def latency(outcomes: Sequence[SearchOutcome]) -> dict[str, float]:
    """Median and 95th percentile of a search, milliseconds."""
    p50, p95 = np.percentile([one.seconds * 1000 for one in outcomes], [50, 95])
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}


def search_rows(stages: Mapping[str, ByKind], latencies: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """The table: a head, then a line for each kind of query and stage."""
    rows = [["query", "n", "stage", *METRICS, "p50 ms", "p95 ms"]]
    kinds = list(next(iter(stages.values())))
    for kind in kinds:
        for stage, found in stages.items():
            values = found[kind]
            head = values[HEADLINE]
            cells = [format_interval(head)]
            cells += [f"{values[name]['value']:.3f}" for name in METRICS[1:]]
            time_cells = [f"{latencies[stage][name]:.0f}" for name in ("p50_ms", "p95_ms")] if kind == ALL else ["", ""]
            rows.append([kind, str(head["n"]), stage, *cells, *time_cells])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table as Markdown."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def outcome_records(
    outcomes: Mapping[str, Sequence[SearchOutcome]], tasks: Iterable[SearchTask]
) -> list[dict[str, Any]]:
    """One record a task for `queries.jsonl`: the query, its answers, and their ranks at each stage."""
    ranks = {stage: {one.task: list(one.ranks) for one in found} for stage, found in outcomes.items()}
    changed = {stage: {one.task: one.changed for one in found if one.changed} for stage, found in outcomes.items()}
    return [
        {
            "id": task.id,
            "kind": str(task.kind),
            "query": task.query,
            "answers": [f"{answer.path}::{answer.symbol}" for answer in task.answers],
            "ranks": {stage: found[task.id] for stage, found in ranks.items()},
            **_changed_record(task.id, changed),
        }
        for task in tasks
    ]


def _changed_record(task: str, changed: Mapping[str, Mapping[str, ChangedF1]]) -> dict[str, Any]:
    scores = {stage: found[task]._asdict() for stage, found in changed.items() if task in found}
    return {"f1": scores} if scores else {}
