"""Verbs that train and measure: `demo`, `sft` and `eval`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.base.errors import RunInterruptedError
from homeground.cli.data import data_table
from homeground.cli.option import RecipeOption
from homeground.cli.stage import (
    Force,
    Resume,
    check_tasks,
    free_name,
    open_stage,
    refuse_to_lose,
    show_results,
    trained,
)
from homeground.cli.verb import Common, verb
from homeground.runs.workspace import RunFolder

if TYPE_CHECKING:
    from homeground.pipeline.sft_data import SftData
    from homeground.recipe import Recipe
    from homeground.runs.workspace import Workspace

_REJECTED_SHOWN = 10


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
    show_results(common, run, metrics, 'try: homeground ask --agent "how are daemon threads joined at exit?"')


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
    if made is None:
        check_tasks(common, run)
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
    from homeground.pipeline.sft_data import sft_data
    from homeground.pipeline.task_report import heldout_tasks

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
