"""The reference of the recipe, from the pydantic models."""

from __future__ import annotations

from collections.abc import Iterator
from enum import EnumType
from types import UnionType
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from homeground.recipe import Recipe

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_HEAD = """# Recipe

A recipe is a YAML file. Every key is optional; a key that does not exist is an error, and says the nearest that does.
`homeground init` writes one for the folder it is run in. Verbs take the recipe of `--recipe FILE` (or a bundled one by
name: `default`, `demo`), else that of the run they work on, else `homeground.yaml` in the current folder, else the
defaults below. This page is made from the models in `src/homeground/recipe/`.
"""


def recipe_page() -> str:
    """Markdown: a table a section."""
    return "\n".join([_HEAD, *_section(Recipe, "")])


def _section(section: type[BaseModel], name: str) -> Iterator[str]:
    own = {key: field for key, field in section.model_fields.items() if _sub(field) is None}
    if name:
        yield f"## {name}\n"
        yield f"{' '.join((section.__doc__ or '').split())}\n"
    if own:
        if not name:
            yield "## At the top\n"
        yield "| key | default | values | meaning |\n| --- | --- | --- | --- |"
        yield from (_row(key, field) for key, field in own.items())
        yield ""
    for key, field in section.model_fields.items():
        if (sub := _sub(field)) is not None:
            yield from _section(sub, f"{name}.{key}" if name else key)
    for key, field in own.items():
        if (item := _item(field.annotation)) is not None:
            yield from _section(item, f"each of {name}.{key}")


def _row(key: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"`{_yaml(field.get_default())}`"
    cells = [f"`{key}`", default, _values(field), field.description or ""]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _yaml(value: Any) -> str:
    return (
        yaml.safe_dump(to_jsonable_python(value), default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    )


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{word} {getattr(rule, name):,}"
        for rule in field.metadata
        for name, word in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join([_type(field.annotation), *bounds])


def _type(annotation: Any) -> str:
    if isinstance(annotation, TypeAliasType):
        return _type(annotation.__value__)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, EnumType):
        return ", ".join(f"`{value}`" for value in annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_type, arguments)))
    if origin is tuple:
        return "list" if _item(annotation) else f"list of: {_type(arguments[0])}"
    if origin is dict:
        return "mapping"
    # Annotated, and aliases with their own rules.
    return _type(origin if not arguments else arguments[0])


def _sub(field: FieldInfo) -> type[BaseModel] | None:
    found = field.annotation
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _item(annotation: Any) -> type[BaseModel] | None:
    """The section that items of a list are."""
    found = next((one for one in get_args(annotation) if isinstance(one, type)), None)
    return found if found is not None and issubclass(found, BaseModel) else None
