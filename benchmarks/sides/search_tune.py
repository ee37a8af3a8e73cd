"""The tuned models of ``make bench-search``: trained on half the standard library, as `homeground tune` does.

What is kept is judged on those modules' own held-out files; the packages are seen by nothing here.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.sides.search import RESAMPLES, task_of
from benchmarks.sides.search_corpora import STDLIB, is_train, masked_tree
from homeground.base.hardware import usable_cores
from homeground.base.progress import Progress
from homeground.corpus import digest
from homeground.index import Index, IndexConfig
from homeground.pipeline.tune import Tuner, TuneTasks
from homeground.recipe import TuneSection

PAIRS, FIT, HELDOUT = 800, 150, 200


def main() -> None:
    """Train, judge and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the models stay")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--models", nargs="*", default=["bi-encoder"])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    began = time.perf_counter()
    shutil.rmtree(options.folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        questions = [one for one in masked_tree(STDLIB, work / "all") if is_train(one)]
        for path in {one.path for one in questions}:
            target = work / "tree" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(work / "all" / path, target)
        groups: dict[int, list] = {0: [], 1: [], 2: []}
        for one in questions:
            groups[_group(one.path)].append(task_of(one))
        drawn = [random.Random(0).sample(groups[at], min(most, len(groups[at]))) for at, most in enumerate(_MOST)]
        recipe = TuneSection(models=tuple(options.models), pairs=options.pairs)

        def open_index(settings: IndexConfig) -> Index:
            return Index.build(work / digest(settings.embedder)[:12], [work / "tree"], settings)[0]

        tasks = TuneTasks(drawn[0][: options.pairs], drawn[1], drawn[2])
        tuner = Tuner(tasks, open_index, options.folder, recipe, 0, RESAMPLES, Progress())
        kept = tuner.run(IndexConfig())
    measured = {
        "seconds": time.perf_counter() - began,
        "questions": {"learn": len(tasks.learn), "fit": len(tasks.fit), "heldout": len(tasks.heldout)},
        "steps": [step.to_json() for step in tuner.steps],
        "embedder": kept.embedder if kept.embedder != IndexConfig().embedder else None,
        "rerank": kept.rerank,
        "dense_weight": kept.dense_weight,
        "rerank_weight": kept.rerank_weight,
    }
    options.out.write_text(json.dumps(measured))


_MOST = (PAIRS, FIT, HELDOUT)


def _group(path: str) -> int:
    """0: learn, 1: fit, 2: judge; eight tenths of the files, one, one."""
    share = int(digest("search-tune", path)[:8], 16) / 2**32
    return 0 if share < 0.8 else 1 if share < 0.9 else 2


if __name__ == "__main__":
    main()
