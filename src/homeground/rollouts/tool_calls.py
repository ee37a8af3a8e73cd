"""Tool calls in what a model wrote, in the forms of the families.

- Hermes and Qwen: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, as often as there are calls;
- Mistral: ``[TOOL_CALLS]`` and a list of such objects, or ``[TOOL_CALLS]name[ARGS]{...}``;
- Llama 3: ``<|python_tag|>`` or nothing before an object whose arguments are called ``parameters``;
- plain: an object, or a list of them, and nothing else.

What is not well formed, or names no function that was offered, stays text: an agent sees what the model wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from homeground.policy.tool_text import CALL, CALL_END

_HERMES = re.compile(rf"{re.escape(CALL)}\s*(.*?)\s*(?:{re.escape(CALL_END)}|\Z)", re.DOTALL)
_MISTRAL, _MISTRAL_ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"
_LLAMA = "<|python_tag|>"


@dataclass(frozen=True)
class ToolCall:
    """A function to be called, its arguments as an object."""

    name: str
    arguments: dict[str, Any]


def find_calls(text: str, offered: Collection[str] | None) -> tuple[str, list[ToolCall]]:
    """The text beside the calls, and the calls; all of the text and no call where one is malformed.

    Args:
        text: written by a model, marks included, its end token not.
        offered: names of the functions that may be called; None where nobody knows: then any name will do between
            marks, and an object without marks is no call.
    """
    for form in (_hermes, _mistral, _bare) if offered is not None else (_hermes, _mistral):
        beside, objects = form(text)
        calls = [_call(found, offered) for found in objects]
        if calls and all(calls):
            return beside.strip(), cast("list[ToolCall]", calls)
    return text, []


def _hermes(text: str) -> tuple[str, Sequence[Any]]:
    return _HERMES.sub("", text), [_json(found) for found in _HERMES.findall(text)]


def _mistral(text: str) -> tuple[str, Sequence[Any]]:
    beside, mark, calls = text.partition(_MISTRAL)
    if not mark:
        return text, []
    objects: list[Any] = []
    for part in calls.split(_MISTRAL):
        name, arguments_follow, arguments = part.partition(_MISTRAL_ARGUMENTS)
        if arguments_follow:
            objects.append({"name": name.strip(), "arguments": _json(arguments)})
        else:
            objects += _listed(_json(part))
    return beside, objects


def _bare(text: str) -> tuple[str, Sequence[Any]]:
    return "", _listed(_json(text.replace(_LLAMA, "").strip()))


def _listed(found: Any) -> list[Any]:
    return cast("list[Any]", found) if isinstance(found, list) else [found]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None


def _call(found: Any, offered: Collection[str] | None) -> ToolCall | None:
    if not isinstance(found, dict):
        return None
    fields = cast("dict[str, Any]", found)
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("parameters", {}))
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    if offered is not None and name not in offered:
        return None
    return ToolCall(name, cast("dict[str, Any]", arguments))
