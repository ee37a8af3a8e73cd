"""Arguments and options of each verb, from the command line itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import homeground.cli  # noqa: F401  (adds the verbs)
from homeground.cli.option import with_meaning
from homeground.cli.verb import app

BAR = "\\|"
"""A bar inside of a table's cell."""


def verbs() -> list[str]:
    """Every verb, in the order of the help."""
    return [str(command.name) for command in app.registered_commands]


def page_of(verb: str) -> str:
    """The verb's how-to below docs/."""
    # verbs/index.md is the list of them all.
    return f"verbs/{'index-verb' if verb == 'index' else verb}.md"


def options_of(verb: str) -> str:
    """Markdown: what the verb takes, with the options that all verbs share in one line at the end."""
    import typer

    command: Any = typer.main.get_command(app)
    parameters = command.commands[verb].params
    own = [
        one for one in parameters if getattr(one, "rich_help_panel", None) != "Common options" and one.name != "help"
    ]
    shared = [one for one in parameters if getattr(one, "rich_help_panel", None) == "Common options"]
    lines = ["## Arguments and options", ""]
    if own:
        lines += ["| | default | |", "| --- | --- | --- |", *map(_row, own), ""]
    named = ", ".join(f"`{one.opts[0]}`" for one in shared)
    return "\n".join([*lines, f"Every verb takes {named} and `--help`.", ""])


def _row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    kind = parameter.type_descriptor.annotation
    choices = " / ".join(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else ""
    name = (choices or parameter.metavar or parameter.name.upper()) if argument else ", ".join(parameter.opts)
    default = parameter.default
    shown = "" if default is None or default is False or default == [] or argument else f"`{_plain(default)}`"
    words = " ".join(with_meaning(parameter.help or "").split())
    return f"| `{name}` | {shown} | {words.replace('|', BAR)} |"


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))
