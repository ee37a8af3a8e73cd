"""The recipe's settings by key: meaning, default and permitted values in words, and all of them as commented YAML."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import EnumType
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from homeground.recipe.recipe import Recipe
from homeground.recipe.yaml_text import Key, flow

_PLAIN = {str: "text", Path: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_WIDTH = 120


def section_at(key: Key) -> type[BaseModel] | None:
    """The section class at a key, or at an item of a list of sections."""
    section: type[BaseModel] | None = Recipe
    field: FieldInfo | None = None
    for part in key:
        if isinstance(part, int):
            section = item_section(field) if field is not None else None
        else:
            field = section.model_fields.get(part) if section is not None else None
            section = section_of(field) if field is not None else None
    return section


def field_at(key: Key) -> FieldInfo | None:
    """The field at a key, which may be one of its former names."""
    section = section_at(key[:-1])
    if section is None:
        return None
    name = str(key[-1])
    return section.model_fields.get(former_names(section).get(name, name))


def fields_below(section: type[BaseModel] = Recipe, above: Key = ()) -> Iterator[tuple[Key, FieldInfo]]:
    """Key and field of every setting of a section, those of nested sections after the section's own key."""
    for name, field in section.model_fields.items():
        yield (*above, name), field
        if (below := section_of(field)) is not None:
            yield from fields_below(below, (*above, name))


def former_names(section: type[BaseModel]) -> dict[str, str]:
    """Former names of a section's keys, each with its present name."""
    aliases = {name: field.validation_alias for name, field in section.model_fields.items()}
    return {
        str(former): name
        for name, alias in aliases.items()
        if isinstance(alias, AliasChoices)
        for former in alias.choices
        if former != name
    }


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section class that is a field's type."""
    found = field.annotation
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def item_section(field: FieldInfo) -> type[BaseModel] | None:
    """The section class of a list's items."""
    found = get_args(field.annotation)[:1] if get_origin(field.annotation) is tuple else ()
    return next((one for one in found if isinstance(one, type) and issubclass(one, BaseModel)), None)


def default_of(field: FieldInfo) -> str | None:
    """The default as it is written in YAML; None if the key is required."""
    if field.is_required():
        return None
    return flow(to_jsonable_python(field.get_default(call_default_factory=True)))


def meaning(field: FieldInfo) -> str:
    """The description, with the values of a closed set where it does not name each."""
    words, annotation = field.description or "", field.annotation
    choices = annotation if isinstance(annotation, EnumType) else get_args(annotation)
    if choices and (isinstance(annotation, EnumType) or get_origin(annotation) is Literal):
        named = [str(choice) for choice in choices]
        words += f" ({', '.join(named)})" if any(choice not in words for choice in named) else ""
    return words


def values_of(field: FieldInfo) -> str:
    """Type and range in words, such as `whole number, at least 1`."""
    ranges = [f"{_BOUNDS[name]} {value:,}" for name, value in bounds_of(field).items()]
    return ", ".join([_type_words(field.annotation), *ranges])


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """Limits of a number by pydantic's names: ge, gt, le, lt."""
    rules = [(name, getattr(rule, name, None)) for rule in field.metadata for name in _BOUNDS]
    return {name: value for name, value in rules if value is not None}


def summary(section: type[BaseModel]) -> str:
    """The first paragraph of a section's docstring."""
    return " ".join((section.__doc__ or "").split("\n\n")[0].split())


def commented_yaml(
    recipe: Recipe, keys: Mapping[str, Sequence[str]] | None = None, notes: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The recipe as YAML in which a comment gives each key's meaning.

    Args:
        recipe: its values are written.
        keys: the sections and single keys to write, and of each section the keys; None writes all.
        notes: lines that stand at the head of a section, in place of its summary.
    """
    lines: list[str] = []
    for name in Recipe.model_fields if keys is None else keys:
        value = getattr(recipe, name)
        if isinstance(value, BaseModel):
            head = None if notes is None else notes.get(name)
            lines += ["", *_section_lines(name, value, 0, None if keys is None else keys[name], head), ""]
        else:
            lines += _setting_lines(name, Recipe.model_fields[name], value, 0)
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _section_lines(
    name: str, section: BaseModel, depth: int, keys: Sequence[str] | None = None, head: Sequence[str] | None = None
) -> Iterator[str]:
    indent = "  " * (depth + 1)
    yield f"{'  ' * depth}{name}:"
    yield from (f"{indent}# {line}" for line in head or _wrapped(summary(type(section)), depth + 1))
    for key, field in type(section).model_fields.items():
        if keys is not None and key not in keys:
            continue
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            yield from _section_lines(key, value, depth + 1)
            continue
        yield from _setting_lines(key, field, value, depth + 1)
        if value == () and (item := item_section(field)) is not None:
            yield f"{indent}# - # {summary(item)}"
            for own, below in item.model_fields.items():
                yield f"{indent}#   {own}: {default_of(below) or '...'} # {below.description}"


def _setting_lines(key: str, field: FieldInfo, value: Any, depth: int) -> Iterator[str]:
    line = f"{'  ' * depth}{key}: {flow(to_jsonable_python(value))}"
    words = meaning(field)
    if len(line) + len(words) + len(" # ") <= _WIDTH:
        yield f"{line} # {words}"
        return
    indent = "  " * depth
    yield from (f"{indent}# {part}" for part in _wrapped(words, depth))
    if len(line) <= _WIDTH:
        yield line
    else:  # YAML folds the lines of a list
        yield from textwrap.wrap(
            line, _WIDTH, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False
        )


def _wrapped(words: str, depth: int) -> list[str]:
    return textwrap.wrap(words, _WIDTH - 2 * depth - len("# "))


def _type_words(annotation: Any) -> str:
    if isinstance(annotation, TypeAliasType):
        return _type_words(annotation.__value__)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, EnumType):
        return ", ".join(f"`{value}`" for value in annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_type_words, arguments)))
    if origin is tuple:
        sections = isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel)
        return "list" if sections else f"list of: {_type_words(arguments[0])}"
    if origin is dict:
        return "mapping"
    # Annotated, and aliases with their own rules.
    return _type_words(arguments[0] if arguments else origin)
