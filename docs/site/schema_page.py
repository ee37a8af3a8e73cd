"""What verbs print with `--json`, from the schemas that tests hold them to."""

from __future__ import annotations

import json
from pathlib import Path

_HEAD = """# What verbs print

Verbs that finish print one JSON document on stdout with `--json`; servers and `--watch` print one line an event. Logs
and progress go to stderr. Exit codes: 0 done, 1 failed, 2 bad usage or recipe, 130 interrupted (what was reached is
saved, and the command that goes on is printed). An error is `{"error", "where", "hint"}`.

| document | schema | keys |
| --- | --- | --- |
"""


def schema_page(folder: Path) -> str:
    """Markdown: a row a schema."""
    rows: list[str] = []
    for path in sorted(set(folder.glob("*.json")) - {folder / "recipe.json"}):
        schema = json.loads(path.read_text("utf-8"))
        keys = ", ".join(f"`{key}`" for key in schema.get("properties", {}))
        rows.append(f"| {schema.get('title', path.stem)} | [{path.name}](../schemas/{path.name}) | {keys} |")
    return _HEAD + "\n".join(rows) + "\n"
