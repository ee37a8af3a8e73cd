"""What `homeground eval data` and `homeground eval general` do and print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeground.base.errors import UsageError
from homeground.cli.verb import Common

if TYPE_CHECKING:
    from rich.table import Table

    from homeground.base.workspace import RunFolder
    from homeground.recipe import Recipe


def evaluate(common: Common, run: RunFolder, recipe: Recipe, data: str | None, *, general: bool) -> None:
    """Measure a run's adapter against its base, on held-out rows or on the general probe."""
    if not general and data is None:
        raise UsageError(
            "no held-out rows were named",
            where="homeground eval data",
            hint="name them: homeground eval data --data .homeground/data/docstrings/heldout.jsonl",
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
    common.show(result, table(result, title), *task_facts(result), f"written to {result['path']}")


def table(result: dict[str, Any], title: str) -> Table:
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
