"""What the verbs that train share: a stage of a run from its start to its end, and how a run is named and shown."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import RunInterruptedError, UsageError
from homeground.cli.verb import Common
from homeground.runs.workspace import RunFolder

if TYPE_CHECKING:
    from homeground.evaluate import Metrics
    from homeground.pipeline.workbench import Workbench
    from homeground.recipe import Recipe

Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]
Force = Annotated[bool, typer.Option("--force", help="Start even where the memory plan says that it cannot fit.")]


@contextlib.contextmanager
def open_stage(
    common: Common, recipe: Recipe, run: RunFolder, stage: str, adapter: Path | None, resume: bool
) -> Generator[Workbench]:
    """Open a workbench for one stage of a run; the stage is recorded as finished when the block ends without an error.

    Raises:
        UsageError: the stage is finished or has checkpoints already, and this is no resumption.
        HomegroundError: another process writes to the run.
        RunInterruptedError: Ctrl-C.
    """
    with started(run, recipe, stage, resume), timed_workbench(common, recipe, run, stage, adapter) as bench:
        try:
            yield bench
        except KeyboardInterrupt:
            raise RunInterruptedError(run.name) from None


@contextlib.contextmanager
def timed_workbench(
    common: Common, recipe: Recipe, run: RunFolder, stage: str, adapter: Path | None
) -> Generator[Workbench]:
    """Open a workbench for one stage of a run that is locked already, and record the stage when it has finished."""
    from homeground.pipeline.workbench import Workbench
    from homeground.runs.stage_timer import timed

    with (
        common.progress() as progress,
        Workbench(recipe, common.workspace(create=False), run, progress) as bench,
        timed(run, stage),
    ):
        bench.start_from(adapter)
        yield bench


@contextlib.contextmanager
def started(run: RunFolder, recipe: Recipe, stage: str, resume: bool) -> Generator[None]:
    """Lock a run for a stage and save its recipe; without ``resume`` the stage must not have begun.

    Raises:
        UsageError: the stage is finished or has checkpoints already, and this is no resumption.
        HomegroundError: another process writes to the run.
    """
    with run.locked():
        if not resume:
            refuse_to_lose(run, stage)
        run.create()
        run.recipe.write_text(recipe.to_yaml())
        yield


def refuse_to_lose(run: RunFolder, stage: str) -> None:
    """Raise `UsageError` if the run has finished this stage, or has checkpoints of it."""
    if stage in run.finished():
        raise UsageError(
            f"the run '{run.name}' has finished '{stage}' already, and starting over would lose what it holds",
            where=str(run.path),
            hint="name another run with --run, or go on with --resume",
        )
    if kept := sorted((run.checkpoints / stage).glob("step-*.ckpt")):
        raise UsageError(
            f"the run '{run.name}' was stopped in '{stage}', and starting over would lose its checkpoints",
            where=str(kept[-1]),
            hint=f"go on with --run {run.name} --resume; to start anew, name another run with --run, or first remove "
            f"this one: homeground runs remove {run.name}",
        )


def free_name(runs: Path) -> str:
    """The first of run-1, run-2, ... that no run has."""
    return next(name for n in itertools.count(1) if not (runs / (name := f"run-{n}")).exists())


def recipe_of(run: RunFolder) -> str:
    """The recipe that the run was started with is the default of its later stages."""
    if not run.recipe.is_file():
        raise UsageError("the run has no recipe", where=str(run.path), hint="start a run with `homeground sft`")
    return str(run.recipe)


def show_plan(common: Common, run: RunFolder, words: str) -> None:
    """Print what a dry run would do."""
    common.show({"run": run.name, "plan": words}, words)


def check_tasks(common: Common, run: RunFolder) -> None:
    """Warn on stderr if the run's held-out tasks are few.

    Raises:
        HomegroundError: there are no tasks for a new run, and this is no dry run.
    """
    from homeground.pipeline.task_report import few_heldout, heldout_tasks
    from homeground.pipeline.workbench import TASKS_FILE, no_tasks

    workspace = common.workspace(create=False)
    count = len(heldout_tasks(run, workspace))
    if not count and not common.dry_run and not run.path.exists():  # of another run its own state is told first
        raise no_tasks(workspace.tasks / TASKS_FILE)
    if count and (words := few_heldout(count)):
        common.tell(f"warning: {words}")


def trained(run: RunFolder) -> dict[str, Any]:
    """What a verb that trains prints with `--json`."""
    from homeground.base.files import read_jsonl

    return {
        "run": run.name,
        "adapter": str(run.adapter),
        "metrics": str(run.metrics_jsonl),
        "steps": read_jsonl(run.metrics_jsonl),
    }


def show_results(common: Common, run: RunFolder, metrics: Metrics, last: str) -> None:
    """Print the metrics of a run on the look-up agent."""
    from rich.table import Table

    from homeground.evaluate import pair_rows, stage_rows, verdict

    def table(title: str, rows: Callable[[Any], list[list[str]]]) -> Table:
        heads, *body = rows(metrics)
        made = Table(*heads, title=title, title_justify="left")
        for row in body:
            made.add_row(*row)
        return made

    common.show(
        {"path": str(run.metrics), "report": str(run.report), "metrics": metrics},
        table("held-out tasks, greedy, mean [95% interval]", stage_rows),
        table("paired differences over the same tasks", pair_rows),
        *verdict(metrics),
        f"report: {run.report}",
        last,
    )
