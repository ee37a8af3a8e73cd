"""The whole loop on the standard library of the running Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homeground.base.errors import HomegroundError
from homeground.evaluate import Metrics
from homeground.pipeline import finetune, stages
from homeground.pipeline.measured import write_results
from homeground.pipeline.workbench import Workbench
from homeground.runs.stage_timer import timed
from homeground.runs.workspace import RunFolder


@dataclass(frozen=True)
class Stage:
    """One resumable step of the demo."""

    name: str
    work: Callable[[], object]


def run_demo(bench: Workbench, *, resume: bool) -> Metrics:
    """All stages in order; with ``resume`` those that are finished are skipped, and the one in work goes on.

    Raises:
        HomegroundError: whatever a stage raises, or a resume with another recipe.
    """
    run = bench.run
    if resume and run.recipe.is_file() and run.recipe.read_text() != bench.recipe.to_yaml():
        raise HomegroundError(
            "the interrupted run has another recipe",
            where=str(run.recipe),
            hint="resume with the same options, or start another run without --resume",
        )
    run.create()
    run.recipe.write_text(bench.recipe.to_yaml())
    done = run.finished()
    bench.start_from(_starting_adapter(run))
    for stage in _stages(bench):
        if stage.name in done:
            bench.progress.line(f"{stage.name}: finished before")
            continue
        with timed(run, stage.name):
            stage.work()
    return write_results(run, bench.recipe)


def _stages(bench: Workbench) -> list[Stage]:
    roots = [Path(root) for root in bench.recipe.corpus.roots]
    return [
        Stage("index", lambda: stages.build_index(bench, roots)),
        Stage("tasks", lambda: stages.make_tasks(bench)),
        Stage("eval scripted", lambda: stages.evaluate(bench, "scripted")),
        Stage("eval base", lambda: stages.evaluate(bench, "base")),
        Stage("sft", lambda: finetune.cold_start(bench)),
        Stage("eval sft", lambda: stages.evaluate(bench, "sft")),
        Stage("rl", lambda: stages.reinforce(bench)),
        Stage("eval rl", lambda: stages.evaluate(bench, "rl")),
    ]


def _starting_adapter(run: RunFolder) -> Path | None:
    """The adapter that the first unfinished stage works on; the KL reference of RL is the one SFT left."""
    finished = run.finished()
    if "rl" in finished:
        return run.adapter
    return finetune.sft_adapter(run) if "sft" in finished else None
