"""Reading a recipe: YAML in, a validated `Recipe` out, and errors that name file, line and key."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from homeground.base.errors import RecipeError
from homeground.base.files import read_text
from homeground.recipe.recipe import Recipe
from homeground.recipe.reference import commented_yaml, default_of, field_at, fields_below, former_names, section_at
from homeground.recipe.yaml_text import Key, Written, dotted, flow, parse, short, shown

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

_OFF_POLICY = "rollouts from elsewhere join the groups in Python, see examples/off_policy.py"
_REMOVED: dict[Key, tuple[Any, str]] = {
    ("rl", "source"): ("gateway", "rollouts always run through the gateway"),
    ("rl", "luffy"): ({"traces": None, "per_group": 1, "gamma": 0.1}, _OFF_POLICY),
    ("rl", "exgrpo"): ({"share": 0.0, "gamma": 0.1, "start": 0.35, "success": 1.0}, _OFF_POLICY),
}
"""Keys of earlier versions: the default, at which they are ignored, and what took their place.

The default of a section is a mapping of all its keys.
"""

DEFAULT_RECIPE = "default"
"""The bundled recipe in which every key has its default. It is written from the fields, no file holds it."""
PROJECT_RECIPE = "homeground.yaml"
"""The recipe of a folder: `homeground init` writes it, verbs that run there read it."""


def bundled_recipes() -> list[str]:
    """Names of the recipes that come with Homeground."""
    folder = files("homeground") / "recipes"
    names = [entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return sorted([DEFAULT_RECIPE, *names])


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
    lines: dict[Key, Written] = {}
    source = "the overrides"
    if path is not None:
        text, source = _read(path)
        values, lines = parse(text, source)
    given = _without_none(overrides or {})
    # A section whose keys are all commented out is read as null: it keeps its defaults.
    written = {name: value for name, value in values.items() if value is not None or section_at((name,)) is None}
    for key, (default, _) in _REMOVED.items():
        section: Any = written
        for part in key[:-1]:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and key[-1] in section and _is_default(section[key[-1]], default):
            del section[key[-1]]
    _drop_former_names(written, given, ())
    try:
        return Recipe.model_validate(merge(written, given))
    except ValidationError as error:
        raise _explain(error, source, lines, given) from None


def _drop_former_names(written: dict[str, Any], given: dict[str, Any], above: Key) -> None:
    """Remove from the file's values the former names of keys that the overrides give by their present names."""
    section = section_at(above)
    former = former_names(section) if section is not None else {}
    for name in [name for name in written if former.get(name) in given]:
        del written[name]
    for name, value in given.items():
        below = written.get(name)
        if isinstance(value, dict) and isinstance(below, dict):
            _drop_former_names(cast("dict[str, Any]", below), cast("dict[str, Any]", value), (*above, name))


def _is_default(value: Any, default: Any) -> bool:
    """Compare a removed key's value with its default; a section may leave keys out, or be null."""
    if not isinstance(default, dict):
        return value == default
    defaults = cast("dict[str, Any]", default)
    if value is None:
        return True
    given = cast("dict[str, Any]", value) if isinstance(value, dict) else {"": value}
    return all(name in defaults and _is_default(one, defaults[name]) for name, one in given.items())


def _read(path: Path | str) -> tuple[str, str]:
    file = Path(path).expanduser()
    if not file.is_file() and str(path) == DEFAULT_RECIPE:
        return commented_yaml(Recipe()), f"{path} (bundled)"
    if not file.is_file() and str(path) in bundled_recipes():
        return (files("homeground") / "recipes" / f"{path}.yaml").read_text("utf-8"), f"{path} (bundled)"
    try:
        return read_text(file), str(path)
    except FileNotFoundError:
        names = ", ".join(bundled_recipes())
        raise RecipeError(
            "the recipe does not exist", where=str(path), hint=f"give a YAML file, or a bundled recipe: {names}"
        ) from None
    except UnicodeError:
        raise RecipeError("the recipe is not UTF-8 text", where=str(path), hint="save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be read: {error.strerror}", where=str(path), hint="give a readable YAML file"
        ) from None


def _explain(error: ValidationError, source: str, lines: dict[Key, Written], given: dict[str, Any]) -> RecipeError:
    problems: dict[tuple[str, Key], tuple[str, str]] = {}
    every = error.errors(include_url=False)
    for problem in every:
        key = _known_part(problem["loc"], lines, given)
        if problem["type"] == "too_short" and any(other["loc"][: len(key)] == key != other["loc"] for other in every):
            continue  # its items are wrong, so none of them is used
        place = _place(key, source, lines, given)
        if problem["type"] == "extra_forbidden":
            text, hint = _unknown_key(key)
        elif problem["type"] == "missing":
            missing = (*key, problem["loc"][-1])
            text, hint = f"'{dotted(missing)}' is missing", _about(missing)
        elif problem["type"] == "value_error":
            text, hint = f"'{dotted(key)}': {problem['msg'].removeprefix('Value error, ')}", "change one of them"
        else:
            wanted = problem["msg"].removeprefix("Input should be ").removesuffix(f" or instance of {_class_name(key)}")
            wanted = _PLAIN_WORDS.get(problem["type"], wanted)
            plain = None if key in _keys_of(given, ()) else lines.get(key, (0, None))[1]
            found_there = short(
                shown(problem["input"]) if plain is None or isinstance(problem["input"], str) else plain
            )
            text, hint = f"'{dotted(key)}' must be {wanted}, not {found_there}", _about(key)
            if problem["type"] == "string_type" and plain is not None:
                hint = f'quote it: "{short(plain)}"; {hint}'
        problems.setdefault((place, key), (text, hint))
    found = [(place, text, hint) for (place, _), (text, hint) in problems.items()]
    if len(found) == 1:
        where, message, hint = found[0]
        return RecipeError(message, where=where, hint=hint)
    listed = "\n".join(f"  {where}: {message} ({hint})" for where, message, hint in found)
    return RecipeError(f"{len(found)} things are wrong with the recipe:\n{listed}", where=source, hint="change them")


def _unknown_key(key: Key) -> tuple[str, str]:
    if key in _REMOVED:
        default, instead = _REMOVED[key]
        return (
            f"'{dotted(key)}' is no longer a setting: {instead}",
            f"remove it; only its former default, {flow(default)}, is ignored",
        )
    text = f"unknown key '{dotted(key)}'"
    name = str(key[-1])
    section = section_at(key[:-1])
    if section is not None and (now := former_names(section).get(name)) is not None:
        return f"'{dotted(key)}' is the former name of '{dotted((*key[:-1], now))}', which is given too", "keep one"
    known = list(section.model_fields) if section is not None else []
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return text, f"did you mean '{dotted((*key[:-1], near[0]))}'?"
    everywhere = [other for other, _ in fields_below()]
    elsewhere = [dotted(other) for other in everywhere if other[-1] == name]
    if elsewhere:
        return text, f"did you mean '{"' or '".join(elsewhere)}'?"
    anywhere = {str(other[-1]): dotted(other) for other in everywhere}
    near = difflib.get_close_matches(name, anywhere, n=1, cutoff=0.75)
    if near:
        return text, f"did you mean '{anywhere[near[0]]}'?"
    return text, f"keys known here: {', '.join(known)}"


def _about(key: Key) -> str:
    """Meaning of a key, and its default."""
    field = field_at(key)
    if field is None and len(key) > 1 and section_at(key) is None:  # an item of a list or a mapping
        return _about(key[:-1])
    if field is None or section_at(key) is not None:
        return "give the section's keys below it, indented"
    if field.is_required():
        return str(field.description)
    return f"{field.description}; the default is {default_of(field)}"


def _class_name(key: Key) -> str:
    section = section_at(key)
    return section.__name__ if section is not None else ""


def _known_part(location: Key, lines: dict[Key, Written], given: dict[str, Any]) -> Key:
    """The part of pydantic's location that the user wrote: it appends names of union members and validators."""
    overridden = _keys_of(given, ())
    for length in range(len(location), 0, -1):
        if location[:length] in lines or location[:length] in overridden:
            return location[:length]
    return location


def _place(key: Key, source: str, lines: dict[Key, Written], given: dict[str, Any]) -> str:
    if key in _keys_of(given, ()):
        return "the overrides given on the command line"
    return f"{source}:{lines[key][0]}" if key in lines else source


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


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay the values of one nested mapping over those of another."""
    merged = dict(under)
    for name, value in over.items():
        beneath = merged.get(name)
        if isinstance(value, dict):
            base = cast("dict[str, Any]", beneath) if isinstance(beneath, dict) else {}
            merged[name] = merge(base, cast("dict[str, Any]", value))
        else:
            merged[name] = value
    return merged
