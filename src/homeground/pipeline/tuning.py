"""What `homeground tune` does around the steps: questions from the index, copies of it, results in the run's folder."""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_json, atomic_write_text
from homeground.base.progress import Progress
from homeground.corpus import Chunk, digest
from homeground.evaluate.search import HEADLINE, search_metrics
from homeground.index import Index, IndexConfig
from homeground.pipeline.tune import Tuner, TuneTasks
from homeground.recipe import Recipe
from homeground.runs.workspace import RunFolder, Workspace
from homeground.tasks import SearchTask, build_lookup_tasks, near_duplicates
from homeground.tasks.search_tasks import docstring_tasks

_FIT_SHARE = 0.2
_SAME_CODE = 0.8
_LEAST = 8


@dataclass(frozen=True)
class TuneData:
    """Questions of an index, what it must forget for them, and how many were left out."""

    tasks: TuneTasks
    masks: dict[str, Chunk]
    removed: dict[str, int]


def tune_data(index: Index, recipe: Recipe) -> TuneData:
    """Questions in three groups of files, without any that nearly repeats a held-out question or its code.

    Raises:
        HomegroundError: too few files with docstrings.
    """
    wanted = recipe.tasks.model_copy(update={"train": recipe.tune.pairs, "heldout": recipe.tune.heldout})
    found = build_lookup_tasks(index, wanted, seed=recipe.seed)
    chunks = index.chunks()
    train, heldout = docstring_tasks(found.train, chunks), docstring_tasks(found.heldout, chunks)
    masked = [found.masks.get(chunk.id, chunk) for chunk in chunks]
    copied = set(near_duplicates(_code(train, masked), _code(heldout, masked), _SAME_CODE))
    clean = [task for at, task in enumerate(train) if at not in copied]
    fit = [task for task in clean if _for_fitting(task, recipe.seed)]
    learn = [task for task in clean if not _for_fitting(task, recipe.seed)]
    if min(len(learn), len(fit), len(heldout)) < _LEAST:
        raise HomegroundError(
            f"{len(learn)} questions to learn from, {len(fit)} to fit on and {len(heldout)} to judge by: "
            f"{_LEAST} of each are needed",
            where=", ".join(map(str, index.roots)),
            hint="index more Python files with docstrings, or lower tasks.min_chars",
        )
    removed = {
        **found.removed,
        "nearly repeats a held-out question": found.removed_near_duplicates,
        "nearly repeats held-out code": len(copied),
    }
    return TuneData(TuneTasks(learn, fit, heldout), found.masks, removed)


def tune(
    recipe: Recipe, workspace: Workspace, run: RunFolder, progress: Progress, *, resume: bool = False
) -> dict[str, Any]:
    """Tunes the workspace's search; the run keeps the models, `tune.json` and a recipe with what was kept.

    The workspace's own index is only read. With ``resume`` models that an interrupted run has finished are taken as
    they are.
    """
    run.create()
    work = run.path / "work"
    with contextlib.closing(Index.open(workspace.index)) as index:
        settings, roots = index.config, index.roots
        bar = progress.bar("making questions")
        data = tune_data(index, recipe)
        counts = {name: len(getattr(data.tasks, name)) for name in ("learn", "fit", "heldout")}
        bar.done(", ".join(f"{count} to {_PURPOSE[name]}" for name, count in counts.items()))

    def open_index(wanted: IndexConfig) -> Index:
        folder = work / digest(wanted.embedder)[:12]
        if wanted.embedder == settings.embedder and not folder.exists():
            shutil.copytree(workspace.index, folder / "index", ignore=shutil.ignore_patterns("lock"))
        index, _ = Index.build(folder / "index", roots, wanted, recipe.corpus, progress=progress)
        with contextlib.closing(index):
            return index.masked(folder / "masked", data.masks, progress)

    tuner = Tuner(
        data.tasks, open_index, run.path / "models", recipe.tune, recipe.seed, recipe.eval.bootstrap, progress, resume
    )
    kept = tuner.run(settings)
    shutil.rmtree(work, ignore_errors=True)
    tuned = recipe.model_copy(update={"index": recipe.index.model_copy(update=_changed(settings, kept))})
    atomic_write_text(run.recipe, tuned.to_yaml())
    document = {
        "run": run.name,
        "recipe": str(run.recipe),
        "questions": counts,
        "removed": data.removed,
        "before": search_metrics(tuner.before, resamples=recipe.eval.bootstrap, seed=recipe.seed)["all"][HEADLINE],
        "steps": [step.to_json() for step in tuner.steps],
        "index": _changed(settings, kept),
    }
    atomic_write_json(run.path / "tune.json", document)
    run.finish("tune")
    return {"path": str(run.path / "tune.json"), "metrics": document}


_PURPOSE = {"learn": "learn from", "fit": "fit weights on", "heldout": "judge by"}


def _changed(before: IndexConfig, after: IndexConfig) -> dict[str, Any]:
    """The recipe's lines of `index` that a tuned search needs."""
    old, new = before.model_dump(), after.model_dump()
    return {name: value for name, value in new.items() if value != old[name]}


def _for_fitting(task: SearchTask, seed: int) -> bool:
    """Whether the task's file is one that weights are fitted on: a fifth of the files that are not held out."""
    return int(digest("fit", str(seed), task.answers[0].path)[:8], 16) / 2**32 < _FIT_SHARE


def _code(tasks: Sequence[SearchTask], chunks: Iterable[Chunk]) -> list[str]:
    """The lines that answer each task."""
    texts: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for chunk in chunks:
        texts[chunk.path, chunk.symbol].append(chunk.text)
    return ["\n".join(texts[task.answers[0].path, task.answers[0].symbol]) for task in tasks]
