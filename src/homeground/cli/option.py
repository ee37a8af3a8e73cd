"""Options and arguments that set a key of the recipe. The key's field gives their help, when the help is shown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from typer.core import TyperCommand
from typer.models import ArgumentInfo, OptionInfo


class RecipeOption(OptionInfo):
    """Option that sets a key of the recipe.

    Args:
        key: dotted key. Through a list of sections, such as `data.sources.source`, each value becomes an item.
        note: words before the key's meaning, such as "With 'run': ".
        panel: heading below which `--help` lists it.
        completion: values that the shell offers.
        least: smallest number, for commands that load no recipe, which would check it.
    """

    def __init__(
        self,
        key: str,
        *,
        note: str = "",
        panel: str | None = None,
        completion: Callable[..., Any] | None = None,
        least: int | None = None,
    ) -> None:
        words = f"{note}{{{key}}}"
        super().__init__(default=..., help=words, rich_help_panel=panel, autocompletion=completion, min=least)
        self.key = key


class RecipeArgument(ArgumentInfo):
    """Argument that sets a key of the recipe."""

    def __init__(self, key: str) -> None:
        super().__init__(default=..., help=f"{{{key}}}")
        self.key = key


class RecipeCommand(TyperCommand):
    """Command whose options may set keys of the recipe: pydantic is loaded only where their help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Put the meaning of keys into the help."""
        for parameter in self.params:
            described: Any = parameter
            described.help = with_meaning(described.help or "")
        super().format_help(ctx, formatter)


def with_meaning(text: str) -> str:
    """Replace each `{key}` by the key's meaning and default, as a sentence."""
    from homeground.recipe.reference import default_of, meaning

    def words(found: re.Match[str]) -> str:
        field = _field(found[1])
        default = default_of(field)
        known = "" if default in (None, "null", "[]") else f", default {default}"
        return f"{meaning(field)} (recipe key {found[1]}{known})."

    filled = re.sub(r"\{([a-z_.]+)\}", words, text)
    return filled[:1].upper() + filled[1:]


def overrides(parameters: Mapping[str, inspect.Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those parameters that set keys of the recipe, nested like a recipe; None and [] are not given."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for one in get_args(parameter.annotation):
            if isinstance(one, RecipeOption | RecipeArgument) and values[name] not in (None, []):
                from homeground.recipe.load import merge

                found = merge(found, _nested(one.key, values[name]))
    return found


def _nested(key: str, value: Any) -> dict[str, Any]:
    """The recipe in which only this key is set."""
    path = _path(key)
    if isinstance(value, str) and get_origin(_field(key).annotation) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    values = [str(one) if isinstance(one, Path) else one for one in (value if isinstance(value, list) else [value])]
    found: Any = values if isinstance(value, list) else values[0]
    if 0 in path:
        name = path.pop()
        path.remove(0)
        found = [{name: one} for one in values]
    for part in reversed(path):
        found = {part: found}
    return found


def _field(key: str) -> Any:
    from homeground.recipe.reference import field_at

    return field_at(tuple(_path(key)))


def _path(key: str) -> list[str | int]:
    """The parts of a dotted key, with a 0 behind a list of sections."""
    from homeground.recipe import Recipe
    from homeground.recipe.reference import item_section, section_of

    path: list[str | int] = []
    section = Recipe
    for part in key.split("."):
        field = section.model_fields[part]
        item = item_section(field)
        path += [part] if item is None else [part, 0]
        section = item or section_of(field) or section
    return path
