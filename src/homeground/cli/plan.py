"""The verb `plan`: what training will need, before it starts."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.cli.option import RecipeOption
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.table import Table

    from homeground.pipeline.estimate import Estimate
    from homeground.pipeline.planning import Plan, Work
    from homeground.recipe import Recipe


class Planned(StrEnum):
    """What can be planned."""

    SFT = "sft"
    RL = "rl"
    AUTO = "auto"


@verb(example="homeground plan --device 8GB")
def plan(
    common: Common,
    recipe_file: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="As --recipe.")] = None,
    device: Annotated[
        str, typer.Option(help="A card's memory such as 8GB, or cuda, cpu or auto for what is here.")
    ] = "auto",
    stage: Annotated[
        Planned, typer.Option(help="Which stage; auto: sft where data is named, else the one that needs more.")
    ] = Planned.AUTO,
    data: Annotated[str | None, RecipeOption("data.sources.source")] = None,
) -> None:
    """Say what training will need in memory and time, and what to change when it does not fit; loads no weights."""
    from homeground.base.sizes import target

    recipe = common.load_recipe(recipe_file)
    where = target(device)

    from homeground.pipeline.estimate import estimate
    from homeground.pipeline.remedies import plan_stage

    work = _work(common, recipe)
    named = "sft" if stage is Planned.AUTO and work else stage.value
    stages = ["sft", "rl"] if named == Planned.AUTO else [named]
    plans = [plan_stage(recipe, name, where, work if name == "sft" else None) for name in stages]  # type: ignore[arg-type]
    largest = max(plans, key=lambda found: found.total_mb)
    time = estimate(recipe, largest)
    document = {**largest.to_json(), "seconds": round(time.seconds), "seconds_from": time.words}
    common.show(document, table(largest), *_words(largest, time))


def table(found: Plan) -> Table:
    """Items and their total."""
    from rich.table import Table

    made = Table("item", "MB", title=f"{found.stage} on {found.device.name}", title_justify="left")
    made.columns[1].justify = "right"
    for name, mb in found.items.items():
        made.add_row(name, f"{mb:,.0f}")
    made.add_section()
    made.add_row("total", f"{found.total_mb:,.0f}")
    made.add_row("device", f"{found.device.memory_mb:,.0f}")
    return made


def _words(found: Plan, time: Estimate) -> list[str]:
    lines = ["it fits" if found.fits else "it does not fit; what would help:"]
    lines += [f"  {number}. {line}" for number, line in enumerate(found.advice, start=1)]
    lines.append(f"largest forward: {found.forest:,} tokens; planned for {found.work.words}")
    lines.append(f"{found.tokens:,} tokens in {found.steps} steps, about {_duration(time.seconds)} ({time.words})")
    return [*lines, f"try: homeground {found.stage}"] if found.fits else lines


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _work(common: Common, recipe: Recipe) -> Work | None:
    """The recipe's data, rendered; None where it names none."""
    if not recipe.data.sources:
        return None
    from homeground.pipeline.planning import rendered_work, tokenizer_of
    from homeground.pipeline.sft_data import sft_data

    with common.progress() as progress:
        made = sft_data(recipe, progress, tokenizer=tokenizer_of(recipe))
    return rendered_work(recipe, made.train)
