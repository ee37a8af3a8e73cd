"""Pages and files that are generated from the recipe's sections; `python docs/site/recipe_page.py` writes them.

docs/recipe.md is the reference, docs/schemas/recipe.json the schema for editors. tests/recipe/every_default.json is a
record of every key that a recipe ever had, with each of its defaults: nothing is removed from it, and tests load all of
it, so that old recipes keep loading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from homeground.recipe import Recipe
from homeground.recipe.reference import default_of, fields_below, item_section, section_of, summary, values_of

DOCS = Path(__file__).resolve().parents[1]
RECORD = DOCS.parent / "tests" / "recipe" / "every_default.json"
_HEAD = """# Recipe

A recipe is a YAML file. Every key is optional. A key that does not exist is an error that names the nearest one.
`homeground init` writes a recipe for the current folder; with `--all` it writes every key with its default and
meaning. Commands read the recipe of `--recipe FILE` (or of a bundled one by name: `default`, `demo`), else that of the
run they work on, else `homeground.yaml` in the current folder, else the defaults below.

A recipe of an earlier version loads. A renamed key keeps its former name as an alias. A removed key is ignored at its
former default; with another value it is an error that says what took its place.

Editors check and complete a recipe with its [JSON schema](schemas/recipe.json). Put a copy beside the recipe and name
it in the first line:

```yaml
# yaml-language-server: $schema=recipe.json
```

`python docs/site/recipe_page.py` writes this page and the schema from the classes of the sections.
"""


def recipe_page() -> str:
    """Markdown: a table a section."""
    return "\n".join([_HEAD, *_section(Recipe, "")]).rstrip() + "\n"


def recipe_schema() -> str:
    """JSON schema of a recipe, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
    for section in (schema, *schema["$defs"].values()):
        for key in section.get("properties", {}).values():
            if "$ref" in key and isinstance(key.get("default"), dict):
                del key["default"]  # the section's own keys say it
    return json.dumps(schema, indent=2) + "\n"


def with_todays_defaults(record: str) -> str:
    """The record of all keys and their defaults, with those of today added."""
    every: dict[str, list[object]] = json.loads(record)
    for key, field in fields_below():
        if section_of(field) is None:
            value, known = to_jsonable_python(field.get_default()), every.setdefault(".".join(map(str, key)), [])
            known += [] if value in known else [value]
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(values)}" for key, values in every.items()) + "\n}\n"


def _section(section: type[BaseModel], name: str) -> Iterator[str]:
    below = {key: sub for key, field in section.model_fields.items() if (sub := section_of(field)) is not None}
    own = {key: field for key, field in section.model_fields.items() if key not in below}
    if name:
        yield f"## {name}\n"
        yield f"{summary(section)}\n"
    if own:
        if not name:
            yield "## At the top\n"
        yield "| key | default | values | meaning |\n| --- | --- | --- | --- |"
        yield from (_row(key, field) for key, field in own.items())
        yield ""
    for key, sub in below.items():
        yield from _section(sub, f"{name}.{key}" if name else key)
    for key, field in own.items():
        if (item := item_section(field)) is not None:
            yield from _section(item, f"each of {name}.{key}")


def _row(key: str, field: FieldInfo) -> str:
    default = default_of(field)
    cells = [f"`{key}`", "required" if default is None else f"`{default}`", values_of(field), field.description or ""]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    (DOCS / "recipe.md").write_text(recipe_page(), "utf-8")
    (DOCS / "schemas" / "recipe.json").write_text(recipe_schema(), "utf-8")
    RECORD.write_text(with_todays_defaults(RECORD.read_text("utf-8")), "utf-8")
