"""Reading a recipe: YAML in, a validated `Recipe` out, and errors that name file, line and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from homeground.base.errors import RecipeError
from homeground.recipe.recipe import Recipe

# What pydantic says in Python's words, in YAML's.
_PLAIN_WORDS = {
    "model_type": "a mapping of keys",
    "tuple_type": "a list",
    "too_short": "a list with at least one item",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}

PROJECT_RECIPE = "homeground.yaml"
"""The recipe of a folder: `homeground init` writes it, verbs that run there read it."""

type Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML whose floats are those people write (plain YAML 1.1 reads `5e-4` as text), without aliases.

    Aliases can make a small file endless, and a recipe has nothing to share.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def bundled_recipes() -> list[str]:
    """Names of the recipes that come with Homeground."""
    folder = files("homeground") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(path: Path | str | None = None, overrides: dict[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file, with `overrides` laid over it.

    Args:
        path: a file, or the name of a bundled recipe; None gives the defaults.
        overrides: nested like the file, such as `{"sft": {"examples": 8}}`; a value of None means "not given".

    Raises:
        RecipeError: the file is missing or no YAML; a key is unknown or given twice; a value has the wrong type or is
            out of range. `where` is `FILE:LINE`, the message names the key.
    """
    values: dict[str, Any] = {}
    lines: dict[Key, int] = {}
    source = "the overrides"
    if path is not None:
        text, source = _read(path)
        values, lines = _parse(text, source)
    given = _without_none(overrides or {})
    # A section whose keys are all commented out is read as null: it keeps its defaults.
    written = {name: value for name, value in values.items() if value is not None or _section((name,)) is None}
    try:
        return Recipe.model_validate(_merge(written, given))
    except ValidationError as error:
        raise _explain(error, source, lines, given) from None


def _read(path: Path | str) -> tuple[str, str]:
    file = Path(path).expanduser()
    if not file.is_file() and str(path) in bundled_recipes():
        return (files("homeground") / "recipes" / f"{path}.yaml").read_text("utf-8"), f"{path} (bundled)"
    try:
        return file.read_text("utf-8"), str(path)
    except FileNotFoundError:
        names = ", ".join(bundled_recipes())
        raise RecipeError(
            "the recipe does not exist", where=str(path), hint=f"give a YAML file, or a bundled recipe: {names}"
        ) from None
    except UnicodeDecodeError:
        raise RecipeError("the recipe is not UTF-8 text", where=str(path), hint="save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be read: {error.strerror}", where=str(path), hint="give a readable YAML file"
        ) from None


def _parse(text: str, source: str) -> tuple[dict[str, Any], dict[Key, int]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines = dict(_key_lines(node, (), source))
        values: object = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(
            f"the recipe is not valid YAML: {error.problem or error.context}",
            where=f"{source}:{mark.line + 1}" if mark else source,
            hint="check the indentation and the colons near that line",
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(
            f"the recipe is not valid YAML: {str(error).splitlines()[0]}",
            where=source,
            hint="a recipe is plain text: sections with keys below them",
        ) from None
    if not isinstance(values, dict):
        raise RecipeError(
            "a recipe is a mapping of sections", where=f"{source}:1", hint="start it with a section, such as 'sft:'"
        )
    return cast("dict[str, Any]", values), lines


def _key_lines(node: yaml.Node | None, key: Key, source: str) -> Iterator[tuple[Key, int]]:
    """The 1-based line on which each key (or list item) of the file stands."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for name_node, value in node.value:
            name = str(name_node.value)
            line = name_node.start_mark.line + 1
            if name in seen:
                raise RecipeError(
                    f"the key '{_dotted((*key, name))}' is given twice, first on line {seen[name]}",
                    where=f"{source}:{line}",
                    hint="keep one of the two",
                )
            seen[name] = line
            yield (*key, name), line
            yield from _key_lines(value, (*key, name), source)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield (*key, position), item.start_mark.line + 1
            yield from _key_lines(item, (*key, position), source)


def _explain(error: ValidationError, source: str, lines: dict[Key, int], given: dict[str, Any]) -> RecipeError:
    problems: dict[tuple[str, Key], tuple[str, str]] = {}
    for problem in error.errors(include_url=False):
        key = _known_part(problem["loc"], lines, given)
        place = _place(key, source, lines, given)
        if problem["type"] == "extra_forbidden":
            text, hint = _unknown_key(key)
        elif problem["type"] == "missing":
            missing = (*key, problem["loc"][-1])
            text, hint = f"'{_dotted(missing)}' is missing", _about(missing)
        elif problem["type"] == "value_error":
            text, hint = f"'{_dotted(key)}': {problem['msg'].removeprefix('Value error, ')}", "change one of them"
        else:
            wanted = problem["msg"].removeprefix("Input should be ").removesuffix(f" or instance of {_class_name(key)}")
            wanted = _PLAIN_WORDS.get(problem["type"], wanted)
            text, hint = f"'{_dotted(key)}' must be {wanted}, not {problem['input']!r}", _about(key)
        problems.setdefault((place, key), (text, hint))
    found = [(place, text, hint) for (place, _), (text, hint) in problems.items()]
    if len(found) == 1:
        where, message, hint = found[0]
        return RecipeError(message, where=where, hint=hint)
    listed = "\n".join(f"  {where}: {message} ({hint})" for where, message, hint in found)
    return RecipeError(f"{len(found)} things are wrong with the recipe:\n{listed}", where=source, hint="change them")


def _unknown_key(key: Key) -> tuple[str, str]:
    text = f"unknown key '{_dotted(key)}'"
    name = str(key[-1])
    section = _section(key[:-1])
    known = list(section.model_fields) if section is not None else []
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return text, f"did you mean '{_dotted((*key[:-1], near[0]))}'?"
    elsewhere = [_dotted(other) for other in _all_keys(Recipe, ()) if other[-1] == name]
    if elsewhere:
        return text, f"did you mean '{"' or '".join(elsewhere)}'?"
    anywhere = {str(other[-1]): _dotted(other) for other in _all_keys(Recipe, ())}
    near = difflib.get_close_matches(name, anywhere, n=1, cutoff=0.75)
    if near:
        return text, f"did you mean '{anywhere[near[0]]}'?"
    return text, f"keys known here: {', '.join(known)}"


def _about(key: Key) -> str:
    """What a key means, and its default."""
    section = _section(key[:-1])
    field = section.model_fields.get(str(key[-1])) if section is not None else None
    if field is None or _section(key) is not None:
        return "give the section's keys below it, indented"
    if field.is_required():
        return str(field.description)
    default = (
        yaml.safe_dump(to_jsonable_python(field.get_default()), default_flow_style=True).removesuffix("\n...\n").strip()
    )
    return f"{field.description}; the default is {default}" if field.description else f"the default is {default}"


def _class_name(key: Key) -> str:
    section = _section(key)
    return section.__name__ if section is not None else ""


def _section(key: Key) -> type[BaseModel] | None:
    section: Any = Recipe
    for part in key:
        if isinstance(part, int):  # an item of a list of sections
            section = next(iter(get_args(section)), None)
        else:
            field = section.model_fields.get(part) if _is_section(section) else None
            section = field.annotation if field is not None else None
    return section if _is_section(section) else None


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _all_keys(section: type[BaseModel], above: Key) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        yield (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _all_keys(field.annotation, (*above, name))


def _known_part(location: Key, lines: dict[Key, int], given: dict[str, Any]) -> Key:
    """The part of pydantic's location that the user wrote: it appends names of union members and validators."""
    overridden = _keys_of(given, ())
    for length in range(len(location), 0, -1):
        if location[:length] in lines or location[:length] in overridden:
            return location[:length]
    return location


def _place(key: Key, source: str, lines: dict[Key, int], given: dict[str, Any]) -> str:
    if key in _keys_of(given, ()):
        return "the overrides given on the command line"
    return f"{source}:{lines[key]}" if key in lines else source


def _keys_of(values: dict[str, Any], above: Key) -> set[Key]:
    found: set[Key] = set()
    for name, value in values.items():
        found.add((*above, name))
        if isinstance(value, dict):
            found |= _keys_of(cast("dict[str, Any]", value), (*above, name))
    return found


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        beneath = merged.get(name)
        if isinstance(value, dict):
            base = cast("dict[str, Any]", beneath) if isinstance(beneath, dict) else {}
            merged[name] = _merge(base, cast("dict[str, Any]", value))
        else:
            merged[name] = value
    return merged


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key)
