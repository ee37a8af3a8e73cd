"""OpenAI's messages, as agents send them, as the renderer takes them: plain text, arguments of calls as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.policy.tool_text import THOUGHTS

_ROLES = {"developer": "system", "function": "tool"}


def plain(message: Any) -> chat.Message:
    """A message given as a dictionary, or as a record of our client or of OpenAI's.

    Raises:
        HomegroundError: content that is no text, or a malformed call.
    """
    fields: Mapping[str, Any] = message if isinstance(message, Mapping) else message.model_dump()
    role = str(fields["role"])
    made: chat.Message = {"role": _ROLES.get(role, role), "content": _text(fields.get("content"), role)}
    if calls := fields.get("tool_calls"):
        if not isinstance(calls, Sequence) or isinstance(calls, str):
            raise HomegroundError("tool_calls: a list of calls is needed", where=f"a message of role {role!r}")
        made["tool_calls"] = [_call(call) for call in cast("Sequence[Any]", calls)]
    elif role == "assistant" and fields.get("content") is None:
        raise HomegroundError(
            "content: an assistant's message needs content or tool_calls", where=f"a message of role {role!r}"
        )
    # Thoughts of earlier turns are shown or left out by the chat template.
    for name in ("tool_call_id", "name", *(THOUGHTS if role == "assistant" else ())):
        if fields.get(name):
            made[name] = str(fields[name])
    return made


def _text(content: Any, role: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = cast("list[Any]", content) if isinstance(content, Sequence) else []
    texts = [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
    if not parts or len(texts) < len(parts):
        raise HomegroundError(
            "content: a message holds text, or a list of parts of text",
            where=f"a message of role {role!r}",
            hint="leave images and other parts out: the model reads text only",
        )
    return "".join(texts)


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise HomegroundError("tool_calls: a call names no function", where="tool_calls of a message")
    arguments: Any = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except json.JSONDecodeError as error:
            raise HomegroundError(
                f"tool_calls: arguments are not JSON: {error}", where=f"a call of {function['name']}"
            ) from None
    return {"id": call.get("id"), "type": "function", "function": {"name": function["name"], "arguments": arguments}}
