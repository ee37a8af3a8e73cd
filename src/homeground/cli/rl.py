"""The verb `rl`: GRPO on the look-up agent, or on an agent of one's own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import HomegroundError, RunInterruptedError, UsageError
from homeground.base.kinds import Runner
from homeground.cli.option import RecipeOption
from homeground.cli.stage import (
    Force,
    Resume,
    check_tasks,
    free_name,
    open_stage,
    recipe_of,
    show_plan,
    started,
    trained,
)
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.table import Table

    from homeground.evaluate.stats import Interval
    from homeground.recipe import Recipe
    from homeground.runs.workspace import RunFolder, Workspace


class RlKind(StrEnum):
    """What `rl` does."""

    LOOKUP = "lookup"
    RUN = "run"
    INIT = "init"


_RUN = "With 'run': "


@verb(example="homeground rl --run mine", resumable=True)
def rl(
    common: Common,
    kind: Annotated[
        RlKind,
        typer.Argument(help="lookup: the agent that ships; run: one of your own; init: write the files of one."),
    ] = RlKind.LOOKUP,
    folder: Annotated[Path | None, typer.Argument(help="With 'init': where the files go; the current folder.")] = None,
    agent: Annotated[str | None, RecipeOption("agent.code", note=_RUN)] = None,
    tasks: Annotated[str | None, RecipeOption("agent.tasks", note=_RUN)] = None,
    reward: Annotated[list[str] | None, RecipeOption("agent.rewards.reward", note=_RUN)] = None,
    heldout: Annotated[str | None, RecipeOption("agent.heldout", note=_RUN)] = None,
    runner: Annotated[Runner | None, RecipeOption("agent.runner", note=_RUN)] = None,
    python: Annotated[str | None, RecipeOption("agent.python", note="With 'run', implies --runner process: ")] = None,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Improve an agent by trying, with GRPO through Agent Lightning.

    lookup: the agent that ships, from the adapter that `sft` left. run: your own agent, on your tasks, for your reward,
    measured on held-out tasks before and after. init: a working agent, tasks and reward to start from.
    """
    given = {"agent": agent, "tasks": tasks, "reward": reward, "heldout": heldout, "runner": runner, "python": python}
    stray = [f"--{name}" for name, value in given.items() if value is not None and kind is not RlKind.RUN]
    stray += ["FOLDER"] if folder is not None and kind is not RlKind.INIT else []
    if stray:
        raise UsageError(
            f"{', '.join(stray)} {'is' if len(stray) == 1 else 'are'} not of `rl {kind}`",
            where=f"homeground rl {kind}",
            hint="homeground rl run --agent agent.py:agent --tasks tasks.jsonl --reward reward.py:reward",
        )
    if kind is RlKind.INIT:
        _init(common, folder or Path())
    elif kind is RlKind.RUN:
        _run(common, {"runner": "process"} if python is not None and runner is None else {}, resume, force)
    else:
        _lookup(common, resume, force)


def _lookup(common: Common, resume: bool, force: bool) -> None:
    run = common.trained_run("sft")
    recipe = common.load_recipe(recipe_of(run))

    from homeground.pipeline import finetune, stages
    from homeground.pipeline.remedies import refuse_what_cannot_fit

    start = finetune.sft_adapter(run)
    if not start.is_dir():
        raise HomegroundError(
            "this run has no SFT adapter to start from", where=str(start), hint=f"run: homeground sft --run {run.name}"
        )
    check_tasks(common, run)
    if common.dry_run:
        show_plan(common, run, f"would run {recipe.rl.steps} steps of GRPO from {start}, into {run.adapter}")
        return
    if not force:
        refuse_what_cannot_fit(recipe, "rl")
    with open_stage(common, recipe, run, "rl", start, resume) as bench:
        words = stages.reinforce(bench)
    common.show(trained(run), words, f"adapter: {run.adapter}", f"try: homeground eval agent --run {run.name}")


def _run(common: Common, section: dict[str, Any], resume: bool, force: bool) -> None:
    recipe, workspace, run = _recipe_and_run(common, section, resume)

    from homeground.pipeline.own_agent import own_agent

    agent = own_agent(recipe.agent)
    if common.dry_run:
        counts = f"{len(agent.train)} tasks" if agent.train else "look-up tasks"
        measured = f", measured on {len(agent.heldout)} held-out ones before and after" if agent.heldout else ""
        show_plan(common, run, f"would run {recipe.rl.steps} steps of GRPO on {counts}{measured}, into {run.adapter}")
        return

    from homeground.pipeline.agent_run import train_agent
    from homeground.pipeline.remedies import refuse_what_cannot_fit
    from homeground.pipeline.workbench import Workbench

    if not force:
        refuse_what_cannot_fit(recipe, "rl")
    with (
        started(run, recipe, "rl", resume),
        common.progress() as progress,
        Workbench(recipe, workspace, run, progress) as bench,
    ):
        try:
            results = train_agent(bench, agent, resume=resume)
        except KeyboardInterrupt:
            raise RunInterruptedError(run.name) from None
    document = {"path": str(run.results), "adapter": str(run.adapter), "results": results}
    common.show(document, _table(results), *_words(results), f"adapter: {run.adapter}", f"report: {run.report}")


def _recipe_and_run(common: Common, section: dict[str, Any], resume: bool) -> tuple[Recipe, Workspace, RunFolder]:
    """The recipe given, else that of the run which is named or was interrupted, with the options over it."""
    recipe = common.load_recipe(agent=section)
    workspace = common.workspace()
    name = recipe.run or (_interrupted(workspace) if resume else free_name(workspace.runs))
    run = workspace.run(name)
    if common.recipe is None and run.recipe.is_file():
        recipe = common.load_recipe(str(run.recipe), agent=section)
    return recipe, workspace, run


def _interrupted(workspace: Workspace) -> str:
    from homeground.runs.workspace import RunFolder

    runs = [RunFolder(folder) for folder in workspace.runs.glob("*")] if workspace.runs.is_dir() else []
    open_ = [run for run in runs if run.recipe.is_file() and "rl" not in run.finished()]
    if not open_:
        raise UsageError("there is no run to resume", where=str(workspace.runs), hint="start one without --resume")
    return max(open_, key=lambda run: run.recipe.stat().st_mtime).name


def _init(common: Common, folder: Path) -> None:
    from homeground.agents.skeleton import COMMAND, FILES, write_skeleton

    if common.dry_run:
        common.show({"folder": str(folder), "files": list(FILES)}, f"would write {', '.join(FILES)} into {folder}")
        return
    written = write_skeleton(folder)
    command = COMMAND if folder == Path() else f"cd {folder} && {COMMAND}"
    common.show(
        {"folder": str(folder), "files": [str(path) for path in written], "command": command},
        *(f"wrote {path}" for path in written),
        f"try: {command}",
    )


def _table(results: dict[str, Any]) -> Table:
    """Reward and its parts on held-out tasks: before, after, and the paired difference."""
    from rich.table import Table

    from homeground.evaluate.stats import format_interval

    made = Table("", "before", "after", "difference", title="held-out tasks, greedy, mean [95% interval]")
    made.title_justify = "left"
    stages = results["stages"]
    for name, difference in results["paired"].items():
        both = (format_interval(stages[moment][name]) for moment in ("before", "after"))
        made.add_row(name, *both, format_interval(difference, signed=True))
    return made


def _words(results: dict[str, Any]) -> list[str]:
    from homeground.evaluate.stats import format_interval

    difference: Interval = results["paired"]["reward"]
    told = format_interval(difference, signed=True)
    if difference["low"] > 0:
        words = f"the reward rose by {told}"
    elif difference["high"] < 0:
        words = f"the reward FELL by {told}"
    else:
        words = f"no gain is shown: the difference {told} includes zero"
    seconds = results["seconds"]
    spent = ", ".join(f"{stage} {taken:.0f} s" for stage, taken in seconds.items())
    return [
        f"{words}, over {difference['n']} held-out tasks, paired",
        f"seed {results['seed']}; {results['train_tasks']} train tasks; {spent}; {sum(seconds.values()):.0f} s in all",
    ]
