"""What the shell completes after an option: names of runs and recipes. It is asked at every key: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from homeground.base.terminal import printable


def run_completion(context: typer.Context, incomplete: str) -> list[str]:
    """Runs of the workspace that the command line names, or of the current folder's."""
    from homeground.base.errors import HomegroundError
    from homeground.runs.run_list import run_names
    from homeground.runs.workspace import open_workspace

    home = context.params.get("home")
    try:
        names = run_names(open_workspace(Path(home) if home else None, create=False))
    except HomegroundError:
        return []
    return _offered(names, incomplete)


def recipe_completion(context: typer.Context, incomplete: str) -> list[str]:
    """Bundled recipes and the YAML files of the folder that is being typed."""
    del context
    from homeground.recipe import bundled_recipes

    folder = Path(incomplete).parent if "/" in incomplete else Path()
    files = [path for path in sorted(folder.glob("*")) if path.suffix in (".yaml", ".yml") or path.is_dir()]
    known = [*bundled_recipes(), *(f"{path}/" if path.is_dir() else str(path) for path in files)]
    return _offered(known, incomplete)


def model_completion(context: typer.Context, incomplete: str) -> list[str]:
    """`fetch`, and the names of the small models."""
    del context
    from homeground.base.weights import bundled

    return [name for name in ("fetch", *(weights.name for weights in bundled())) if name.startswith(incomplete)]


def _offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Names that begin with the typed text; names with unsafe characters are not completed."""
    return [name for name in names if name.startswith(incomplete) and printable(name) == name]
