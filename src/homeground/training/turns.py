"""Messages of training rows: roles, texts, thoughts, calls and flags, under the names that data sets use."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from homeground.policy.chat import Message
from homeground.policy.tool_text import THOUGHTS


class RowError(ValueError):
    """Why a row teaches nothing."""


_CALL = "call"
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "claude", "model", "ai", "bot"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "tool_response", "function_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), _CALL),
}
FLAGS = ("weight", "train", "training", "trainable", "loss", "loss_mask")
"""Fields that mark a message as trained (1 or true) or as context (0 or false)."""
_UNREAD_FLAGS = ("train_detail", "training_detail", "loss_scale", "loss_weight", "mask", "masked")
KNOWN = frozenset(
    {"role", "from", "content", "value", "tool_calls", "function_call", "name", "tool_call_id", *FLAGS, *THOUGHTS}
)
"""Fields of a message that are read."""
DEEPEST = 64
"""Deepest nesting of objects and lists in tools and arguments."""


def turns(value: Any, name: str, answer: str | None = None) -> list[Message]:
    """Read a list of messages, one message, or their JSON; a plain text is one message of the role ``answer``.

    Raises:
        RowError: a message that cannot be read.
    """
    if isinstance(value, str):
        if answer is not None:
            return [{"role": answer, "content": text(value, name)}]
        value = parsed(value, f"'{name}' is text and")
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not value:
        raise RowError(f"'{name}' is {'empty' if value == [] else kind(value)}, not a list of messages")
    return [message(turn, f"{name}[{index}]") for index, turn in enumerate(cast("list[Any]", value))]


def message(turn: Any, where: str) -> Message:
    """Read one message; its ``weight`` is 0 if it is not trained.

    Raises:
        RowError: it cannot be read.
    """
    if not isinstance(turn, Mapping):
        raise RowError(f"{where} is {kind(turn)}, not a message")
    turn = cast("Mapping[str, Any]", turn)
    role, content = _role(turn, where), _one_of(turn, ("content", "value"), where)
    if role == _CALL:
        role, calls, content = "assistant", _calls(parsed(text(content, where), f"{where}: the call is"), where), None
    else:
        calls = _calls(turn.get("tool_calls"), f"{where}.tool_calls")
        calls = calls or _calls(turn.get("function_call"), f"{where}.function_call")
    said, thoughts = ("", "") if content is None and calls else _content(content, f"{where}.content")
    made: Message = {"role": role, "content": said}
    if calls:
        made["tool_calls"] = calls
    told = {text(turn[name], f"{where}.{name}") for name in THOUGHTS if turn.get(name) is not None} | {thoughts}
    told = {one for one in told if one.strip()}
    if len(told) > 1:
        raise RowError(f"{where} has two different thoughts ({', '.join(name for name in THOUGHTS if turn.get(name))})")
    if told:
        made[THOUGHTS[0]] = told.pop()
    trained = _flag(turn, where)
    if role == "assistant":
        made |= {"weight": 0} if trained is False else {}
    elif calls or trained or THOUGHTS[0] in made:
        what = "has tool calls" if calls else "is to be trained" if trained else "has thoughts"
        raise RowError(f"{where} {what}, but its role is {role!r}: only the assistant's may")
    for name in ("name", "tool_call_id"):
        if turn.get(name) is not None:
            made[name] = text(turn[name], f"{where}.{name}")
    return made


def _role(turn: Mapping[str, Any], where: str) -> str:
    named = _one_of(turn, ("role", "from"), where, lambda value: _ROLES.get(str(value).strip().lower(), value))
    if named is None:
        raise RowError(f"{where} has no 'role' and 'content', and no 'from' and 'value'")
    if not isinstance(named, str) or named not in (*_ROLES.values(), _CALL):
        raise RowError(f"{where} has the role {_short(named)}, which is none of {', '.join(_ROLES)}")
    return named


def _one_of(turn: Mapping[str, Any], names: tuple[str, ...], where: str, read: Any = lambda value: value) -> Any:
    """Value of a message's field that has several names; all names that occur must agree."""
    found = [read(turn[name]) for name in names if turn.get(name) is not None]
    if any(one != found[0] for one in found):
        raise RowError(f"{where} has different {' and '.join(map(repr, names))}")
    return found[0] if found else None


def yes_or_no(value: Any, where: str) -> bool:
    """Read a flag or a weight of 0 or 1 from JSON or a table.

    Raises:
        RowError: a weight between 0 and 1, or not a flag.
    """
    word = str(value).strip().lower()
    if word in ("1", "1.0", "true"):
        return True
    if word in ("0", "0.0", "false"):
        return False
    raise RowError(f"'{where}' is {_short(value)}: what is trained has the weight 1, what is not has 0")


def _flag(turn: Mapping[str, Any], where: str) -> bool | None:
    """Test whether a message is marked as trained; None if it has no flag."""
    if unread := [name for name in _UNREAD_FLAGS if turn.get(name) is not None]:
        raise RowError(f"{where} has '{unread[0]}', which is not read: mark whole messages, by 'weight' 0 or 1")
    said = {yes_or_no(turn[name], f"{where}.{name}") for name in FLAGS if turn.get(name) is not None}
    if len(said) > 1:
        raise RowError(f"{where} is said to be trained and not to be trained")
    return said.pop() if said else None


def _content(content: Any, where: str) -> tuple[str, str]:
    """Text and thoughts of a content; those of a list of parts are joined."""
    if not isinstance(content, list):
        return text(content, where), ""
    said: list[str] = []
    thoughts: list[str] = []
    for part in cast("list[Any]", content):
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        named: Any = cast("Mapping[str, Any]", part).get("type") if isinstance(part, Mapping) else kind(part)
        if named in ("text", "input_text", "output_text"):
            said.append(text(part.get("text"), where))
        elif named in ("thinking", "reasoning"):
            thoughts.append(_content(part.get(named), where)[0])
        else:
            raise RowError(f"{where} has a part that is no text ({_short(named)})")
    return "".join(said), "\n".join(thoughts)


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(value, str) and value.strip():
        value = parsed(value, f"'{where}' is text and")
    if not value:
        return []
    if isinstance(value, Mapping):
        return [_call(value, where)]
    if not isinstance(value, list):
        raise RowError(f"{where} is {kind(value)}, not a list of tool calls")
    return [_call(call, f"{where}[{number}]") for number, call in enumerate(cast("list[Any]", value))]


def _call(call: Any, where: str) -> dict[str, Any]:
    """A tool call as templates take it: arguments as an object, not as the text of one."""
    if not isinstance(call, Mapping):
        raise RowError(f"{where} is {kind(call)}, not a tool call")
    call = cast("Mapping[str, Any]", call)
    inner: Any = call.get("function") or call
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise RowError(f"{where} names no function")
    inner = cast("Mapping[str, Any]", inner)
    if other := [name for name in ("args", "input", "kwargs") if inner.get(name) is not None]:
        raise RowError(f"{where} has '{other[0]}' in place of 'arguments'")
    arguments = _one_of(inner, ("arguments", "parameters"), where)
    if isinstance(arguments, str):
        arguments = parsed(arguments, f"{where}: its arguments are") if arguments.strip() else None
    if arguments is not None and not isinstance(arguments, dict):
        raise RowError(f"{where}: its arguments are {kind(arguments)}, not an object")
    found = {"type": "function", "function": {"name": inner["name"], "arguments": plain_json(arguments or {}, where)}}
    return {"id": call["id"], **found} if isinstance(call.get("id"), str) else found


def tools(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a row's tool schemas, each may be JSON text; OpenAI's earlier ``functions`` become tools.

    Raises:
        RowError: they are not schemas.
    """
    name = "tools" if row.get("tools") else "functions"
    given: Any = row.get(name) or []
    given = parsed(given, f"'{name}' is") if isinstance(given, str) else given
    listed = cast("list[Any]", given) if isinstance(given, list) else [given]
    listed = [parsed(one, f"'{name}' has one that is") if isinstance(one, str) else one for one in listed]
    if not all(isinstance(one, dict) for one in listed):
        raise RowError(f"'{name}' is not a list of schemas")
    plain_json(listed, name)
    return [{"type": "function", "function": one} for one in listed] if name == "functions" else listed


def conversation(messages: list[Message]) -> list[Message]:
    """Return the messages up to the last answer, if there is something to train on.

    Answers before the first question are context.

    Raises:
        RowError: there is nothing to train on.
    """
    roles = [one["role"] for one in messages]
    if "assistant" not in roles:
        raise RowError("no message is the assistant's: nothing in it can be trained")
    if "user" not in roles:
        raise RowError("no message is the user's")
    # Messages after the last answer are not trained.
    messages = messages[: len(roles) - roles[::-1].index("assistant")]
    asked = roles.index("user")
    made: list[Message] = []
    for index, one in enumerate(messages):
        if one["role"] == "assistant" and not one["content"].strip() and "tool_calls" not in one:
            raise RowError(f"the assistant's message {index} is empty")
        if one["role"] == "tool" and (index == 0 or roles[index - 1] not in ("assistant", "tool")):
            raise RowError(f"message {index} is a tool's result, but no call comes before it")
        made.append({**one, "weight": 0} if one["role"] == "assistant" and index < asked else one)
    if not any(one["role"] == "assistant" and one.get("weight") != 0 for one in made):
        raise RowError("no answer is trained: each is marked as context, or stands before the first question")
    return made


def parsed(given: str, what: str) -> Any:
    """Parse JSON text.

    Raises:
        RowError: it is not JSON, or parsers may read it differently.
    """
    try:
        return strict_json(given)
    except ValueError as error:
        raise RowError(f"{what} no JSON: {error}") from error


def strict_json(given: str) -> Any:
    """Parse JSON text strictly.

    Raises:
        ValueError: it is not JSON, repeats a name, holds NaN or an infinity, or is nested too deeply.
    """
    try:
        return json.loads(given, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {_short(next(name for name in names if names.count(name) > 1))} twice")
    return made


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def plain_json(value: Any, where: str, depth: int = 0) -> Any:
    """Return the value if it consists of JSON types only.

    Raises:
        RowError: it has another type, or is nested too deeply.
    """
    if depth > DEEPEST:
        raise RowError(f"'{where}' is nested more than {DEEPEST} deep")
    if isinstance(value, str):
        text(value, where)
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[Any, Any]", value).items():
            text(name, where)
            plain_json(item, where, depth + 1)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            plain_json(item, where, depth + 1)
    elif not (value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))):
        raise RowError(f"'{where}' has {_short(value)}, which JSON does not know")
    return value


def text(value: Any, where: str) -> str:
    """Return the value if it is text.

    Raises:
        RowError: it is something else, or has a lone surrogate.
    """
    if not isinstance(value, str):
        raise RowError(f"'{where}' is {kind(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"'{where}' has half a character (a surrogate without its pair)") from None
    return value


_KINDS = {
    type(None): "missing",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def kind(value: Any) -> str:
    """JSON's name for a value's type."""
    return _KINDS.get(type(value), type(value).__name__)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
