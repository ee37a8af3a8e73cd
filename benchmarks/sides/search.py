"""One corpus of ``make bench-search`` on our side, in a process of its own: index it, then ask every question.

Questions of train modules fit the fusion's weight (on the standard library only); all others are asked at every stage.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides.fusions import DESIGNS
from benchmarks.sides.search_corpora import Question, asked, is_train, masked_tree
from homeground.base.hardware import usable_cores
from homeground.base.memory import PeakMemory
from homeground.evaluate.fusion import fit_dense_weight, fusion_cases
from homeground.evaluate.search import HEADLINE, SearchOutcome, latency, outcomes_of, search_difference, search_metrics
from homeground.index import Hit, Index, IndexConfig, Stage
from homeground.tasks import Answer, QueryKind, SearchTask

RESAMPLES = 2000
FIT_ON = 800
_POOL = 100
_FIRST = {Stage.DENSE, Stage.LEXICAL}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--queries", type=int, default=10**6, help="most questions")
    parser.add_argument("--dense-weight", type=float, help="weight fitted elsewhere; none takes the default")
    parser.add_argument("--fit", action="store_true", help="fit the weight on this corpus's train modules first")
    parser.add_argument("--backend", default=IndexConfig().backend)
    parser.add_argument("--embedder", default=IndexConfig().embedder)
    parser.add_argument("--rerank", help="folder of a reranker")
    parser.add_argument("--rerank-weight", type=float, default=IndexConfig().rerank_weight)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    weights: dict[str, float] = {}
    if options.dense_weight is not None:
        weights = {"dense_weight": options.dense_weight, "lexical_weight": round(1 - options.dense_weight, 4)}
    settings = IndexConfig(
        backend=options.backend,
        embedder=options.embedder,
        rerank=options.rerank,
        rerank_weight=options.rerank_weight,
        **weights,
    )
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(options.corpus, settings, Path(folder), options.queries, fit=options.fit)
    options.out.write_text(json.dumps(measured))


def measure(corpus: str, settings: IndexConfig, folder: Path, queries: int, *, fit: bool) -> dict[str, Any]:
    """Speed, memory and size of indexing, and MRR@10 of every stage and design over the corpus's questions."""
    questions = masked_tree(corpus, folder / "tree")
    measured, index = indexed(folder, settings)
    measured |= {"corpus": corpus, "settings": settings.model_dump(), "found": len(questions)}
    if fit:
        train = [task_of(one) for one in questions if is_train(one)][:: max(1, len(questions) // (2 * FIT_ON))]
        best, curve = fit_dense_weight(fusion_cases(train, index.candidates, index.chunks()))
        measured |= {"dense_weight": best, "fit_on": len(train), "fit": {str(k): round(v, 4) for k, v in curve.items()}}
        index.close()
        weights = {"dense_weight": best, "lexical_weight": round(1 - best, 4)}
        index, _ = Index.build(folder / "index", [folder / "tree"], settings.model_copy(update=weights))
    tasks = [task_of(one) for one in asked(corpus, questions, queries)]
    outcomes = ask(index, tasks)
    how: dict[str, Any] = {"resamples": RESAMPLES, "seed": 0}
    measured["metrics"] = {name: search_metrics(found, **how)["all"] for name, found in outcomes.items()}
    timed = {name: found for name, found in outcomes.items() if name not in DESIGNS and found[0].seconds}
    measured["latency"] = {name: latency(found) for name, found in timed.items()}
    best_single = max(("dense", "lexical"), key=lambda name: measured["metrics"][name][HEADLINE]["value"])
    final = "reranked" if "reranked" in outcomes else "fused"
    measured["gain"] = {
        "over": best_single, **search_difference(outcomes["fused"], outcomes[best_single], **how)
    }  # fmt: skip
    measured["reciprocal_ranks"] = {
        name: {one.task: round(one.metrics()[HEADLINE], 6) for one in outcomes[name]}
        for name in dict.fromkeys(("dense", "fused", final))
    }
    index.close()
    return measured


def indexed(folder: Path, settings: IndexConfig) -> tuple[dict[str, Any], Index]:
    """The tree's index, made once and made again without a change, with what both cost."""
    tree = folder / "tree"
    # What is measured is indexing, not the first load of a library; the peers have loaded theirs, too.
    if settings.backend in ("auto", "bf16", "fp32"):
        importlib.import_module("sentence_transformers")
    (folder / "warm").mkdir()
    (folder / "warm" / "a.py").write_text("def warm():\n    return 1\n")
    Index.build(folder / "warm-index", [folder / "warm"], settings)[0].close()
    with PeakMemory() as memory:
        index, report = Index.build(folder / "index", [tree], settings)
    index.close()
    began = time.perf_counter()
    index, again = Index.build(folder / "index", [tree], settings)
    unchanged = time.perf_counter() - began
    assert again.embedded == 0
    source_mb = size_mb(tree)
    return {
        "files": report.files,
        "chunks": report.chunks,
        "source_mb": source_mb,
        "seconds": report.seconds,
        "mb_per_s": source_mb / report.seconds,
        "unchanged_seconds": unchanged,
        "peak_mb": memory.peak_mb,
        "disk_mb": size_mb(folder / "index"),
    }, index


def ask(index: Index, tasks: Sequence[SearchTask]) -> dict[str, list[SearchOutcome]]:
    """Outcomes of every stage, and of other tools' ways to fuse the same two rankings."""
    index.warm()

    def search(stages: set[Stage]) -> Callable[[str, int], list[Hit]]:
        return partial(index.search, stages=stages)

    stages = {"dense": {Stage.DENSE}, "lexical": {Stage.LEXICAL}, "fused": _FIRST}
    if index.reranker is not None:
        stages["reranked"] = _FIRST | {Stage.RERANK}
    outcomes = {name: outcomes_of(tasks, search(wanted), _ignore) for name, wanted in stages.items()}

    @cache
    def rankings(query: str) -> list[list[Hit]]:
        return [search({stage})(query, _POOL) for stage in (Stage.DENSE, Stage.LEXICAL)]

    for name, design in DESIGNS.items():

        def designed(query: str, count: int, design: Any = design) -> list[Hit]:
            return design(query, *rankings(query))[:count]

        outcomes[name] = outcomes_of(tasks, designed, _ignore)
    return outcomes


def task_of(question: Question) -> SearchTask:
    """The question as a task: any line of the function answers it."""
    answer = Answer(question.path, question.symbol, ((question.start, question.end),))
    return SearchTask(f"{question.path}::{question.symbol}", QueryKind.DOCSTRING, question.text, (answer,))


def size_mb(folder: Path) -> float:
    """Of all files below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _ignore(_: int) -> None: ...


if __name__ == "__main__":
    main()
