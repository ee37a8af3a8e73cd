"""The verb `init`: a recipe for the folder that it is run in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from homeground.base.errors import UsageError
from homeground.cli.verb import Common, verb


@verb(example="homeground init --force")
def init(
    common: Common,
    device: Annotated[
        str, typer.Option(help="Plan the model for a card's memory such as 8GB, or for what is here.")
    ] = "auto",
    every: Annotated[bool, typer.Option("--all", help="Write every key, each with its default and meaning.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the recipe that is there.")] = False,
) -> None:
    """Write a commented recipe for this folder: the languages found here, and a model that fits this machine."""
    from homeground.recipe import PROJECT_RECIPE, load_recipe

    path = Path.cwd() / PROJECT_RECIPE
    if path.exists() and not force and not common.dry_run:
        raise UsageError(
            "this folder has a recipe already", where=str(path), hint="edit it, or replace it with --force"
        )
    recipe = load_recipe(common.recipe, common.given)

    from homeground.base.files import atomic_write_text
    from homeground.base.sizes import target
    from homeground.pipeline.first_recipe import chosen_recipe, corpus_words, look_around, recipe_text
    from homeground.pipeline.model_choice import consider, larger

    where = target(device)
    with common.progress() as progress:
        bar = progress.bar("reading this folder")
        found = look_around(recipe)
        bar.done(f"{found.files} files in {len(found.languages)} languages")
        bar = progress.bar("planning models for this machine")
        considered = list(consider(recipe, where))
        recipe = chosen_recipe(recipe, considered)
        bar.done(recipe.model.name)
    better = larger(considered)
    text = recipe_text(recipe, found, considered, every=every)
    if not common.dry_run:
        atomic_write_text(path, text)
    document = {
        "path": str(path),
        "recipe": text,
        "languages": {name: asdict(one) for name, one in found.languages.items()},
        "skipped": found.skipped,
        "commits": found.commits,
        "model": recipe.model.name,
        "larger_model": None if better is None else better.candidate.name,
        "models": [one.to_json() for one in considered],
    }
    from rich.text import Text

    lines = [text] if common.dry_run else [*corpus_words(found), f"wrote {path}, with the model {recipe.model.name}"]
    if better is not None:
        name, size = better.candidate.name, better.candidate.download_gb
        lines.append(f"this machine has room for {name}; to fetch it ({size:.1f} GB): homeground weights {name}")
        lines.append(f"then set model.name to {name} in {path.name}")
    common.show(document, *map(Text, lines), "try: homeground index")
