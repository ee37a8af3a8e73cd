"""What `homeground tune` does around the steps: questions from the index, copies of it, results in the run's folder."""

from __future__ import annotations

import contextlib
import math
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from homeground.tasks import SearchTask, TaskSet, build_lookup_tasks, heldout_files, near_duplicates, own_tasks
from homeground.tasks.headings import heading_tasks
from homeground.tasks.lookup import indexed_sources
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

    Documentation comments and headings ask; the user's own questions are held out, and nothing that answers them is
    learned from.

    Raises:
        HomegroundError: too few files with documentation comments or headings, or own questions that are not right.
    """
    chunks = index.chunks()
    own = own_tasks(Path(recipe.tasks.questions), chunks) if recipe.tasks.questions else []
    wanted = recipe.tasks.model_copy(update={"train": recipe.tune.pairs, "heldout": recipe.tune.heldout})
    try:
        found = build_lookup_tasks(index, wanted, seed=recipe.seed)
    except HomegroundError:  # no comments: headings may do
        found = TaskSet([], [])
    train, heldout = docstring_tasks(found.train, chunks), docstring_tasks(found.heldout, chunks)
    sources = indexed_sources(index, sorted({chunk.path for chunk in chunks}), Counter())
    files = heldout_files(sources, recipe.tasks, seed=recipe.seed)
    masks = dict(found.masks)
    sections = heading_tasks(chunks)
    random.Random(recipe.seed).shuffle(sections)
    for task, untitled in sections:
        group, most = (heldout, wanted.heldout) if task.answers[0].path in files else (train, wanted.train)
        if len(group) < most:
            group.append(task)
            masks |= untitled
    heldout += own
    by_file: defaultdict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        by_file[chunk.path].append(masks.get(chunk.id, chunk))
    copied = set(near_duplicates(_code(train, by_file), _code(heldout, by_file), _SAME_CODE))
    copied |= {at for at, task in enumerate(train) if any(_overlap(task, one) for one in own)}
    asked, owned = ([task.query for task in group] for group in (train, own))
    repeats = set(near_duplicates(asked, owned, recipe.tasks.near_duplicate)) - copied
    clean = [task for at, task in enumerate(train) if at not in copied | repeats]
    fitted = _fit_files(clean, recipe.seed)
    fit = [task for task in clean if task.answers[0].path in fitted]
    learn = [task for task in clean if task.answers[0].path not in fitted]
    if min(len(learn), len(fit), len(heldout)) < _LEAST:
        raise HomegroundError(
            f"{len(learn)} questions to learn from, {len(fit)} to fit on and {len(heldout)} to judge by: "
            f"{_LEAST} of each are needed",
            where=", ".join(map(str, index.roots)),
            hint="index more files with documentation comments or headings, or lower tasks.min_chars",
        )
    removed = {
        **found.removed,
        "nearly repeats a held-out question": found.removed_near_duplicates + len(repeats),
        "nearly repeats held-out code": len(copied),
    }
    return TuneData(TuneTasks(learn, fit, heldout), masks, removed)


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


def _fit_files(tasks: Iterable[SearchTask], seed: int) -> set[str]:
    """The files that weights are fitted on: a fifth of those that are not held out, by chance."""
    files = sorted({task.answers[0].path for task in tasks}, key=lambda path: digest("fit", str(seed), path))
    return set(files[: math.ceil(_FIT_SHARE * len(files))])


def _overlap(task: SearchTask, other: SearchTask) -> bool:
    """Return whether two tasks have a line of an answer in common."""
    return any(
        one.path == two.path
        and any(first <= end and start <= last for first, last in one.spans for start, end in two.spans)
        for one in task.answers
        for two in other.answers
    )


def _code(tasks: Sequence[SearchTask], by_file: Mapping[str, Sequence[Chunk]]) -> list[str]:
    """The lines that answer each task."""
    answers = [task.answers[0] for task in tasks]
    return ["\n".join(chunk.text for chunk in by_file[one.path] if one.shown_by(chunk)) for one in answers]
