"""The command `eval`: a run before and after, or the search of a workspace, with 95% intervals."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import UsageError
from homeground.cli.option import RecipeOption
from homeground.cli.stage import recipe_of, show_plan, show_results, timed_workbench
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.table import Table

    from homeground.pipeline.stages import EvalStage
    from homeground.recipe import Recipe
    from homeground.runs.workspace import RunFolder


class EvalKind(StrEnum):
    """Kinds of evaluation."""

    AGENT = "agent"
    DATA = "data"
    GENERAL = "general"
    SEARCH = "search"


@verb(example="homeground eval agent --run mine", name="eval")
def evaluate(
    common: Common,
    kind: Annotated[EvalKind, typer.Argument(help="What to evaluate.")] = EvalKind.AGENT,
    again: Annotated[bool, typer.Option("--again", help="Evaluate stages that were evaluated before, too.")] = False,
    data: Annotated[
        str | None, typer.Option(help="With 'data': held-out rows, as `homeground data` writes them.")
    ] = None,
    questions: Annotated[str | None, RecipeOption("tasks.questions", note="With 'search': ")] = None,
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
    if questions is not None and kind is not EvalKind.SEARCH:
        raise UsageError(
            f"--questions says nothing about an evaluation of {kind}",
            where=f"homeground eval {kind}",
            hint="ask them with: homeground eval search --questions FILE",
        )
    if kind is EvalKind.SEARCH:
        _evaluate_search(common)
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
        _evaluate_texts(common, run, recipe, data if kind is EvalKind.DATA else None, general=kind is EvalKind.GENERAL)
        return

    from homeground.pipeline import finetune, stages
    from homeground.pipeline.measured import write_results

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
        with run.locked(), timed_workbench(common, recipe, run, f"eval {stage}", adapter) as bench:
            stages.evaluate(bench, stage)
    ready = "rl" in run.finished()
    last = "chat --agent" if ready else "rl"
    show_results(common, run, write_results(run, recipe), f"try: homeground {last} --run {run.name}")


def _evaluate_search(common: Common) -> None:
    """Measure every stage of the workspace's search on queries from the indexed corpus."""
    recipe = common.load_recipe()
    workspace = common.workspace(create=False)

    from homeground.pipeline import search_eval

    run = workspace.run(recipe.run or search_eval.RUN)
    if common.dry_run:
        words = (
            f"would ask {workspace.index} up to {recipe.eval.tasks} queries of each kind, into {run.path / 'search'}"
        )
        common.show({"run": run.name, "plan": words}, words)
        return
    with common.progress() as progress:
        result, rows = search_eval.evaluate_search(recipe, workspace, run, progress)

    from rich.table import Table

    from homeground.evaluate.stats import format_interval

    table = Table(*rows[0], title="search, mean [95% interval]", title_justify="left")
    for row in rows[1:]:
        table.add_row(*row, end_section=row[2] == search_eval.SEARCH)
    document = result["metrics"]
    last = {
        f"MRR@10 by language ({search_eval.SEARCH}):": document["languages"][search_eval.SEARCH],
        f"F1 of what commits changed ({search_eval.SEARCH}):": document["changed"][search_eval.SEARCH],
    }
    more = [
        line
        for title, found in last.items()
        if found
        for line in (title, *(f"  {name}: {format_interval(one)}, n={one['n']}" for name, one in found.items()))
    ]
    if document["removed"]:
        left_out = ", ".join(f"{count} {why}" for why, count in document["removed"].items())
        more.append(f"commits left out: {left_out}")
    missing = [f"no {kind} queries: {why}" for kind, why in result["metrics"]["missing"].items()]
    common.show(result, table, *more, *missing, f"plot: {result['plot']}", "try: homeground tune")


def _evaluate_texts(common: Common, run: RunFolder, recipe: Recipe, data: str | None, *, general: bool) -> None:
    """Measure a run's adapter against its base, on held-out rows or on the general probe."""
    if not general and data is None:
        raise UsageError(
            "no held-out rows were named",
            where="homeground eval data",
            hint="name them: homeground eval data --data .homeground/data/documentation/heldout.jsonl",
        )
    what = " and ".join(["the general probe", *recipe.sft.probe_tasks]) if general else data
    if common.dry_run:
        words = f"would measure the base and {run.adapter} on {what}, into {run.path / 'evaluations'}"
        common.show({"run": run.name, "plan": words}, words)
        return

    from homeground.pipeline.forgetting import evaluate_general, task_facts
    from homeground.pipeline.text_eval import evaluate_texts

    workspace = common.workspace(create=False)
    with common.progress() as progress:
        if data is None:
            result = evaluate_general(recipe, workspace, run, progress)
        else:
            result = evaluate_texts(recipe, workspace, run, progress, data)
    title = f"{what}, mean [95% interval]"
    by_language = result.get("languages", {})
    tables = [_table(result, title)]
    tables += [_table(one, f"{name}, {one['rows']} rows") for name, one in by_language.items() if len(by_language) > 1]
    common.show(result, *tables, *task_facts(result), f"written to {result['path']}")


def _table(result: dict[str, Any], title: str) -> Table:
    """A row a metric: before, after and the paired difference."""
    from rich.table import Table

    from homeground.evaluate.stats import format_interval

    before, after = result["stages"]["before"], result["stages"]["after"]
    change = result["paired"]["after-before"]
    shown = Table("metric", "before", "after", "after - before", title=title, title_justify="left")
    for name in before:
        cells = [*map(format_interval, (before[name], after[name])), format_interval(change[name], signed=True)]
        # TASK/METRIC is lm-eval's own name.
        shown.add_row(name if "/" in name else name.replace("_", " "), *cells)
    return shown
