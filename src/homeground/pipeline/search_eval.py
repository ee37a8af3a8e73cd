"""`homeground eval search`: how well each stage of the search finds what the corpus itself asks for."""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.files import atomic_write_json, atomic_write_jsonl, atomic_write_text
from homeground.base.progress import Progress
from homeground.index import Index, Stage
from homeground.pipeline.measured import machine, source_commit
from homeground.recipe import Recipe
from homeground.runs.workspace import RunFolder, Workspace
from homeground.tasks import SearchTasks, build_search_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from homeground.evaluate.search import SearchOutcome

RUN = "search"
"""Run folder of a measurement that no other was named for."""
SEARCH = "search"
"""The last stage: what `homeground search` does, with everything that the settings switch on."""


def evaluate_search(
    recipe: Recipe, workspace: Workspace, run: RunFolder, progress: Progress
) -> tuple[dict[str, Any], list[list[str]]]:
    """Measures the workspace's index; keeps the figures, the table, the plot and every rank in the run's `search/`.

    Args:
        recipe: `eval.tasks` is the most queries of a kind; `tasks` says how files are held out.
        workspace: holds the index.
        run: where results go; a measurement that lies there is replaced.
        progress: where bars go.

    Returns:
        The document of `metrics.json`, and the rows of the table, the head first.

    Raises:
        HomegroundError: there is no index, or it gives no task.
    """
    from homeground.evaluate.search import (
        changed_metrics,
        latency,
        markdown,
        metrics_by_language,
        outcome_records,
        search_metrics,
        search_rows,
    )
    from homeground.evaluate.search_chart import search_png

    folder = run.path / "search"
    with contextlib.closing(Index.open(workspace.index)) as index:
        made = search_tasks(recipe, index, progress)
        outcomes = measure(index, made, run.path / "masked-index", progress)
        how: dict[str, Any] = {"resamples": recipe.eval.bootstrap, "seed": recipe.seed}
        stages = {stage: search_metrics(found, **how) for stage, found in outcomes.items()}
        language_of_file = {chunk.path: chunk.language for chunk in index.chunks()}
        languages = {task.id: language_of_file[task.answers[0].path] for task in made.tasks}
        latencies = {stage: latency(found) for stage, found in outcomes.items()}
        document: dict[str, Any] = {
            "run": run.name,
            "commit": source_commit(),
            "machine": machine(),
            "seed": recipe.seed,
            "settings": index.config.model_dump(),
            "tasks": dict(Counter(str(task.kind) for task in made.tasks)),
            "missing": {str(kind): why for kind, why in made.missing.items()},
            "removed": dict(made.removed),
            "stages": stages,
            "languages": {stage: metrics_by_language(found, languages, **how) for stage, found in outcomes.items()},
            "changed": {stage: changed_metrics(found, **how) for stage, found in outcomes.items()},
            "latency": latencies,
        }
    rows = search_rows(stages, latencies)
    atomic_write_jsonl(folder / "queries.jsonl", outcome_records(outcomes, made.tasks))
    atomic_write_text(folder / "table.md", markdown(rows))
    search_png(stages, folder / "search.png")
    atomic_write_json(folder / "metrics.json", document)
    return {"path": str(folder / "metrics.json"), "plot": str(folder / "search.png"), "metrics": document}, rows


def search_tasks(recipe: Recipe, index: Index, progress: Progress) -> SearchTasks:
    """The tasks that a measurement with this recipe asks."""
    bar = progress.bar("making queries")
    made = build_search_tasks(index, recipe.tasks, each=recipe.eval.tasks, seed=recipe.seed)
    counts = Counter(str(task.kind) for task in made.tasks)
    bar.done(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return made


def measure(index: Index, made: SearchTasks, folder: Path, progress: Progress) -> Mapping[str, list[SearchOutcome]]:
    """What every stage makes of the tasks, by name of the stage.

    Args:
        index: the full index; a copy without what the queries were taken from is searched.
        made: the tasks.
        folder: of that copy; kept for the next measurement.
        progress: where bars go.
    """
    from homeground.evaluate.search import outcomes_of

    first = {Stage.DENSE, Stage.LEXICAL}
    stages: dict[str, set[Stage] | None] = {"dense": {Stage.DENSE}, "lexical": {Stage.LEXICAL}, "fused": first}
    if index.reranker is not None:
        stages["reranked"] = first | {Stage.RERANK}
    stages[SEARCH] = None
    outcomes: dict[str, list[SearchOutcome]] = {}
    with contextlib.closing(index.masked(folder, made.masks, progress)) as masked:
        masked.warm()
        bar = progress.bar("searching", total=len(stages) * len(made.tasks))
        for name, wanted in stages.items():
            outcomes[name] = outcomes_of(made.tasks, partial(masked.search, stages=wanted), bar.advance)
        bar.done(f"{len(made.tasks)} queries at each of {len(stages)} stages")
    return outcomes
