"""OpenAI's messages, as agents send them, as the renderer takes them: plain text, arguments of calls as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.policy.tool_text import THOUGHTS

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}  # fmt: skip
_TEXTS = {"text", "input_text", "output_text", "refusal"}
"""Types of a message's parts that hold text."""


def plain(message: Any) -> chat.Message:
    """Convert a message from a dictionary or from a record of our client or OpenAI's.

    Raises:
        HomegroundError: an unknown role, content that is no text, or a malformed call.
    """
    fields: Mapping[str, Any] = message if isinstance(message, Mapping) else message.model_dump()
    role, content, calls = fields.get("role"), fields.get("content"), fields.get("tool_calls")
    if not isinstance(role, str) or role not in _ROLES:
        raise HomegroundError(
            "role: a message needs a role" if role is None else f"role: there is no role {role!r:.40}",
            where="a message",
            hint=f"roles: {', '.join(_ROLES)}",
        )
    if role == "assistant":
        # The older form of a call.
        if not calls and (older := fields.get("function_call")):
            calls = [{"function": older}]
        if content is None:
            content = fields.get("refusal")
        elif calls and content == []:
            content = None
    made: chat.Message = {"role": _ROLES[role], "content": _text(content, role)}
    if calls:
        if not isinstance(calls, Sequence) or isinstance(calls, str):
            raise HomegroundError("tool_calls: a list of calls is needed", where=f"a message of role {role!r}")
        made["tool_calls"] = [_call(call) for call in cast("Sequence[Any]", calls)]
    elif role == "assistant" and content is None:
        raise HomegroundError(
            "content: an assistant's message needs content or tool_calls", where=f"a message of role {role!r}"
        )
    # The chat template renders or omits the thoughts of earlier turns.
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
    texts = [_part(part) for part in parts]
    if not texts or any(text is None for text in texts):
        raise HomegroundError(
            "content: a message holds text, or a list of parts of text",
            where=f"a message of role {role!r}",
            hint="leave images and other parts out: the model reads text only",
        )
    return "".join(text for text in texts if text is not None)


def _part(part: Any) -> str | None:
    """Text of a part of a message; None for other types of parts."""
    kind = part.get("type") or "text" if isinstance(part, Mapping) else None
    text = part.get("refusal" if kind == "refusal" else "text") if isinstance(kind, str) and kind in _TEXTS else None
    return text if isinstance(text, str) else None


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise HomegroundError("tool_calls: a call names no function", where="tool_calls of a message")
    arguments: Any = function.get("arguments")
    if isinstance(arguments, str):
        try:
            # As in a body: no lone surrogates, and no numbers or depths that parsers refuse.
            arguments = from_json(arguments.encode(), allow_inf_nan=False) if arguments.strip() else {}
        except ValueError as error:
            raise HomegroundError(
                f"tool_calls: arguments are not JSON: {error}", where=f"a call of {function['name']}"
            ) from None
    return {"id": call.get("id"), "type": "function", "function": {"name": function["name"], "arguments": arguments}}
