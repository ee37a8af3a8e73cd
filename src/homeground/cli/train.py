"""Verbs that train and measure: `demo`, `sft` and `eval`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import RunInterruptedError, UsageError
from homeground.base.workspace import RunFolder
from homeground.cli import measure, texts
from homeground.cli.data import data_table
from homeground.cli.option import RecipeOption
from homeground.cli.stage import Force, Resume, free_name, open_stage, recipe_of, refuse_to_lose, show_plan, trained
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from homeground.base.workspace import Workspace
    from homeground.evaluate import Metrics
    from homeground.pipeline.sft_data import SftData
    from homeground.pipeline.stages import EvalStage
    from homeground.recipe import Recipe

_REJECTED_SHOWN = 10


class EvalKind(StrEnum):
    """What can be evaluated."""

    AGENT = "agent"
    DATA = "data"
    GENERAL = "general"
    SEARCH = "search"


@verb(example="homeground demo", resumable=True)
def demo(common: Common, resume: Resume = False, force: Force = False) -> None:
    """Walk the whole loop on Python's standard library (or the recipe's corpus): index, tasks, SFT, GRPO, report."""
    from homeground.corpus import STDLIB_EXCLUDES, CorpusConfig, stdlib_root

    recipe = common.load_recipe("demo")
    if recipe.corpus == CorpusConfig():
        recipe = common.load_recipe("demo", corpus={"roots": [str(stdlib_root())], "exclude": list(STDLIB_EXCLUDES)})
    workspace = common.workspace()
    run = _demo_run(workspace, recipe.run, resume)
    if common.dry_run:
        plan = (
            f"would index {', '.join(recipe.corpus.roots)}, make {recipe.tasks.train} + {recipe.tasks.heldout} tasks, "
            f"run SFT on {recipe.sft.examples} conversations and {recipe.rl.steps} steps of GRPO, "
            f"and write {run.report}"
        )
        common.show({"run": run.name, "report": str(run.report), "recipe": recipe.model_dump(mode="json")}, plan)
        return

    from homeground.pipeline.demo import run_demo
    from homeground.pipeline.remedies import refuse_what_cannot_fit
    from homeground.pipeline.workbench import Workbench

    if not force:
        refuse_what_cannot_fit(recipe, "sft")
        refuse_what_cannot_fit(recipe, "rl")
    with run.locked(), common.progress() as progress, Workbench(recipe, workspace, run, progress) as bench:
        try:
            metrics = run_demo(bench, resume=resume)
        except KeyboardInterrupt:
            raise RunInterruptedError(run.name) from None
    _show_results(common, run, metrics, 'try: homeground ask --agent "how are daemon threads joined at exit?"')


@verb(example="homeground sft --run mine", resumable=True)
def sft(
    common: Common,
    data: Annotated[str | None, RecipeOption("data.sources.source")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A row that fits no format is an error.")] = False,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Fine-tune with QLoRA: on the recipe's data, else a light cold start on scripted look-ups of the train tasks."""
    recipe = common.load_recipe()
    workspace = common.workspace(create=bool(recipe.data.sources))
    run = workspace.run(recipe.run or (_interrupted_run if resume else free_name)(workspace.runs))
    if resume and common.recipe is None and run.recipe.is_file():
        recipe = common.load_recipe(str(run.recipe))
    made = _prepared(common, recipe, workspace, run, strict) if recipe.data.sources else None
    if common.dry_run:
        count = len(made.train) if made is not None else recipe.sft.examples
        words = f"would fine-tune {recipe.model.name} on {count} examples, into {run.adapter}"
        document = {} if made is None else {"data": made.document()}
        common.show({"run": run.name, "plan": words, **document}, *([data_table(made)] if made else []), words)
        return

    from homeground.base.files import atomic_write_json
    from homeground.pipeline import finetune
    from homeground.pipeline.remedies import refuse_what_cannot_fit

    if not force:
        refuse_what_cannot_fit(recipe, "sft", made.train if made is not None else None)
    with open_stage(common, recipe, run, "sft", None, resume) as bench:
        if made is None:
            words = finetune.cold_start(bench)
        else:
            atomic_write_json(run.data, made.document())
            words = finetune.fine_tune(bench, made.train, made.heldout)
    lines = [] if made is None else [f"data: {run.data}"]
    common.show(trained(run), *lines, words, f"adapter: {run.adapter}", f"try: homeground rl --run {run.name}")


def _prepared(common: Common, recipe: Recipe, workspace: Workspace, run: RunFolder, strict: bool) -> SftData:
    """What the recipe's data comes to, told before anything is trained."""
    from homeground.pipeline.planning import tokenizer_here, tokenizer_of
    from homeground.pipeline.sft_data import heldout_tasks, sft_data

    with common.progress() as progress:
        tasks = heldout_tasks(run, workspace)
        tokenizer = tokenizer_here(recipe) if common.dry_run else tokenizer_of(recipe)
        made = sft_data(recipe, progress, tasks=tasks, strict=strict, tokenizer=tokenizer)
        progress.bar("training data").done(made.describe())
    if tokenizer is None:
        untried = f"{recipe.model.name} is not on this machine: whether its chat template takes each row is not tried"
        typer.echo(untried, err=True)
    for row in made.rejected[:_REJECTED_SHOWN]:
        typer.echo(f"rejected: {row}", err=True)
    if not common.dry_run:  # which shows it itself
        common.tell(data_table(made))
    return made


@verb(example="homeground eval agent --run mine", name="eval")
def evaluate(
    common: Common,
    kind: Annotated[EvalKind, typer.Argument(help="What to evaluate.")] = EvalKind.AGENT,
    again: Annotated[bool, typer.Option("--again", help="Evaluate stages that were evaluated before, too.")] = False,
    data: Annotated[
        str | None, typer.Option(help="With 'data': held-out rows, as `homeground data` writes them.")
    ] = None,
    tasks: Annotated[str | None, RecipeOption("sft.probe_tasks", note="With 'general', separated by commas: ")] = None,
) -> None:
    """Measure a run before and after, or the search of this workspace, with 95% intervals.

    agent: held-out tasks. data: rows of text. general: what fine-tuning makes a model forget. search: queries that the
    indexed corpus itself asks and answers.
    """
    if tasks is not None and kind is not EvalKind.GENERAL:
        raise UsageError(
            f"--tasks says nothing about an evaluation of {kind}",
            where=f"homeground eval {kind}",
            hint="measure them with: homeground eval general --tasks hellaswag,arc_easy",
        )
    if kind is EvalKind.SEARCH:
        measure.evaluate_search(common)
        return
    run = common.trained_run("sft")
    recipe = common.load_recipe(recipe_of(run))
    if kind is EvalKind.AGENT and recipe.agent.code is not None:
        raise UsageError(
            f"the run '{run.name}' is of an agent of its own, which `rl run` has measured itself",
            where=str(run.path / "results.json"),
            hint=f"to train it again, with another name: homeground rl run --recipe {run.recipe} --run NAME",
        )
    if kind is not EvalKind.AGENT:
        texts.evaluate(common, run, recipe, data if kind is EvalKind.DATA else None, general=kind is EvalKind.GENERAL)
        return

    from homeground.base.memory import PeakMemory
    from homeground.pipeline import finetune, stages
    from homeground.pipeline.demo import timed
    from homeground.pipeline.measured import write_results
    from homeground.pipeline.workbench import Workbench

    adapters: dict[EvalStage, Path | None] = {"scripted": None, "base": None, "sft": finetune.sft_adapter(run)}
    if "rl" in run.finished():
        adapters["rl"] = run.adapter
    todo: dict[EvalStage, Path | None] = {
        stage: path for stage, path in adapters.items() if again or not stages.evaluation_file(run, stage).is_file()
    }
    if common.dry_run:
        show_plan(common, run, f"would evaluate {', '.join(todo) or 'nothing new'}, into {run.metrics}")
        return
    for stage, adapter in todo.items():
        with (
            run.locked(),
            common.progress() as progress,
            Workbench(recipe, common.workspace(create=False), run, progress) as bench,
            PeakMemory() as memory,
            timed(run, f"eval {stage}", memory),
        ):
            bench.start_from(adapter)
            stages.evaluate(bench, stage)
    ready = "rl" in run.finished()
    last = "chat --agent" if ready else "rl"
    _show_results(common, run, write_results(run, recipe), f"try: homeground {last} --run {run.name}")


def _demo_run(workspace: Workspace, name: str | None, resume: bool) -> RunFolder:
    """The run of a demo: the one named, else a new one, or with ``resume`` the newest."""
    if name is not None:
        run = workspace.run(name)
        if not resume:
            refuse_to_lose(run, "index")
        return run
    made = sorted(workspace.runs.glob("demo*"), key=lambda folder: folder.stat().st_mtime)
    if resume and made:
        return workspace.run(made[-1].name)
    numbers = (workspace.run("demo" if n == 1 else f"demo-{n}") for n in itertools.count(1))
    return next(run for run in numbers if not run.path.exists())


def _interrupted_run(runs: Path) -> str:
    """The run that was fine-tuned last and has not finished; a new one when there is none."""
    started = [run for folder in runs.glob("*") if (run := RunFolder(folder)).recipe.is_file()]
    unfinished = [run for run in started if "sft" not in run.finished()]
    if not unfinished:
        return free_name(runs)
    return max(unfinished, key=lambda run: run.recipe.stat().st_mtime).name


def _show_results(common: Common, run: RunFolder, metrics: Metrics, last: str) -> None:
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
