"""The command `tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import RunInterruptedError, UsageError
from homeground.cli.option import RecipeOption
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.table import Table

_TUNE_RUN = "tune"


@verb(example="homeground tune", resumable=True)
def tune(
    common: Common,
    questions: Annotated[str | None, RecipeOption("tasks.questions")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take the models that an interrupted run finished.")] = False,
) -> None:
    """Train the search on the indexed corpus, and keep what finds more on files that were held out."""
    recipe = common.load_recipe()
    workspace = common.workspace(create=False)
    run = workspace.run(recipe.run or _TUNE_RUN)
    if "tune" in run.finished() and not common.dry_run:
        raise UsageError(
            f"the run '{run.name}' has tuned already, and starting over would lose its models",
            where=str(run.path),
            hint="name another run with --run",
        )
    if common.dry_run:
        models = ", ".join(recipe.tune.models) or "no model"
        words = f"would fit the fusion and train {models} on up to {recipe.tune.pairs} questions, into {run.path}"
        common.show({"run": run.name, "plan": words}, words)
        return

    from homeground.pipeline import tuning

    with common.progress() as progress:
        try:
            result = tuning.tune(recipe, workspace, run, progress, resume=resume)
        except KeyboardInterrupt:
            raise RunInterruptedError(run.name) from None
    found = result["metrics"]
    if found["index"]:
        lines = [f"  {name}: {value}" for name, value in found["index"].items()]
        last = ["kept, as lines of a recipe:", "index:", *lines, f"use it: homeground index --recipe {found['recipe']}"]
    else:
        last = ["nothing was kept: the search stays as it is"]
    common.show(result, _steps(found), *last)


def _steps(found: dict[str, Any]) -> Table:
    from rich.table import Table

    from homeground.evaluate.stats import format_interval

    table = Table("step", "MRR@10", "gain", "kept", "seconds", title_justify="left")
    table.title = f"{found['questions']['heldout']} held-out questions, mean [95% interval]"
    table.add_row("as it is", format_interval(found["before"]), "", "", "")
    for step in found["steps"]:
        kept = "yes" if step["kept"] else "no"
        cells = [
            format_interval(step["mrr"]),
            format_interval(step["gain"], signed=True),
            kept,
            f"{step['seconds']:.0f}",
        ]
        table.add_row(step["name"], *cells)
    return table
