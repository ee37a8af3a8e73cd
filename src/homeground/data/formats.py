"""Formats of training rows: which one a row has, and the row as a conversation, a text or a preference pair.

==================  ==========================================================================================
format              fields
==================  ==========================================================================================
messages            ``messages``: OpenAI's, with ``tool_calls`` and tool results; ``tools`` beside it
prompt, completion  ``prompt`` and ``completion``, both text or both lists of messages
Alpaca              ``instruction`` and ``output``, with or without ``input`` and ``system``
ShareGPT            ``conversations``: ``from`` (system, human, gpt, function_call, observation) and ``value``
text                ``text``: every token is trained
continuation        ``prefix`` and ``continuation``: plain text, no template; the continuation is trained
preference          ``chosen`` and ``rejected``, with ``prompt`` or with the prompt as their common beginning
==================  ==========================================================================================

``"unfinished": true`` beside any but a preference says that the last text was cut off: its end is not trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

from homeground.policy.chat import Message

type Row = Mapping[str, Any]


class Format(StrEnum):
    """See the module's table."""

    PREFERENCE = "preference"
    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt-completion"
    TEXT = "text"
    CONTINUATION = "continuation"


class RowError(ValueError):
    """Why a row teaches nothing."""


@dataclass(frozen=True)
class Example:
    """What one row teaches.

    Attributes:
        format: of the row.
        messages: ends with the assistant's message; of a preference pair the chosen conversation. Empty for a text.
        text: of a row of plain text; of a continuation.
        prefix: what a continuation continues.
        rejected: of a preference pair.
        tools: schemas that the template shows to the model.
        unfinished: what is trained was cut off, so that nothing is learnt of where it ends.
        place: where the row was read, ``file:line``; no part of what it teaches.
    """

    format: Format
    messages: list[Message] = field(default_factory=list)
    text: str = ""
    prefix: str = ""
    rejected: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    unfinished: bool = False
    place: str = field(default="", compare=False)

    def said(self) -> list[str]:
        """What users and assistants say, a text for each message, or the plain text.

        Without what rows of one set share: system prompts, tools and their results.
        """
        if not self.messages:
            return [part for part in (self.prefix, self.text) if part]
        told = [m for m in [*self.messages, *self.rejected[-1:]] if m["role"] in ("user", "assistant")]
        return [_said(message) for message in told]

    def question(self) -> str:
        """What the user says first; nothing of a plain text."""
        return next((_said(message) for message in self.messages if message["role"] == "user"), "")


def example_of(row: Row) -> Example:
    """A row as an example.

    Raises:
        RowError: it has no known format, or not what its format asks for.
    """
    found = format_of(row)
    if found is None:
        keys = ", ".join(sorted(row)) or "none"
        raise RowError(f"no known format: its fields are {keys}")
    example = _READERS[found](row)
    # Only the word itself: a set of somebody else's may use the field for something of its own.
    return replace(example, unfinished=True) if row.get("unfinished") is True else example


def format_of(row: Row) -> Format | None:
    """The format that a row's fields say; None when they say none."""
    present = {key for key, value in row.items() if value is not None}
    return next((kind for kind, fields in _FIELDS.items() if fields <= present), None)


_FIELDS = {
    Format.PREFERENCE: {"chosen", "rejected"},
    Format.MESSAGES: {"messages"},
    Format.SHAREGPT: {"conversations"},
    Format.ALPACA: {"instruction", "output"},
    Format.PROMPT_COMPLETION: {"prompt", "completion"},
    Format.TEXT: {"text"},
    Format.CONTINUATION: {"prefix", "continuation"},
}


def _preference(row: Row) -> Example:
    chosen, rejected = (_turns(row[name], name, answer="assistant") for name in ("chosen", "rejected"))
    if row.get("prompt") is not None:
        prompt = _turns(row["prompt"], "prompt", answer="user")
        chosen, rejected = ([*prompt, *part] if part[: len(prompt)] != prompt else part for part in (chosen, rejected))
    if chosen[:-1] != rejected[:-1]:
        raise RowError("'chosen' and 'rejected' do not answer the same prompt")
    if len(chosen) < 2:
        raise RowError("the pair has no prompt: add 'prompt', or begin 'chosen' and 'rejected' with it")
    if chosen == rejected:
        raise RowError("'chosen' and 'rejected' are the same")
    return Example(Format.PREFERENCE, _conversation(chosen), rejected=_conversation(rejected), tools=_tools(row))


def _messages(row: Row) -> Example:
    return Example(Format.MESSAGES, _conversation(_turns(row["messages"], "messages")), tools=_tools(row))


def _prompt_completion(row: Row) -> Example:
    prompt = _turns(row["prompt"], "prompt", answer="user")
    completion = _turns(row["completion"], "completion", answer="assistant")
    return Example(Format.PROMPT_COMPLETION, _conversation([*prompt, *completion]), tools=_tools(row))


def _alpaca(row: Row) -> Example:
    asked = _text(row["instruction"], "instruction")
    if row.get("input"):
        asked += "\n\n" + _text(row["input"], "input")
    answer = {"role": "assistant", "content": _text(row["output"], "output")}
    return Example(Format.ALPACA, _conversation([*_system(row), {"role": "user", "content": asked}, answer]))


_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
    "tool": "tool",
}


def _sharegpt(row: Row) -> Example:
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise RowError(f"'conversations' is {_kind(turns)}, not a list")
    messages = _system(row)
    for index, turn in enumerate(cast("list[Any]", turns)):
        where = f"conversations[{index}]"
        if not isinstance(turn, Mapping) or "from" not in turn or "value" not in turn:
            raise RowError(f"{where} has no 'from' and 'value'")
        turn = cast("Mapping[str, Any]", turn)
        text = _text(turn["value"], f"{where}.value")
        if turn["from"] == "function_call":
            call = _call(_parsed(text, f"{where}: the function call is"), where)
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif turn["from"] in _SHAREGPT_ROLES:
            messages.append({"role": _SHAREGPT_ROLES[turn["from"]], "content": text})
        else:
            raise RowError(f"{where} is from {turn['from']!r}, which is none of {', '.join(_SHAREGPT_ROLES)}")
    return Example(Format.SHAREGPT, _conversation(messages), tools=_tools(row))


def _system(row: Row) -> list[Message]:
    return [{"role": "system", "content": _text(row["system"], "system")}] if row.get("system") else []


def _plain(row: Row) -> Example:
    text = _text(row["text"], "text")
    if not text.strip():
        raise RowError("'text' is empty")
    return Example(Format.TEXT, text=text)


def _continuation(row: Row) -> Example:
    prefix, text = _text(row["prefix"], "prefix"), _text(row["continuation"], "continuation")
    if not prefix or not text:
        raise RowError(f"'{'prefix' if not prefix else 'continuation'}' is empty")
    return Example(Format.CONTINUATION, text=text, prefix=prefix)


_READERS: dict[Format, Callable[[Row], Example]] = {
    Format.PREFERENCE: _preference,
    Format.MESSAGES: _messages,
    Format.SHAREGPT: _sharegpt,
    Format.ALPACA: _alpaca,
    Format.PROMPT_COMPLETION: _prompt_completion,
    Format.TEXT: _plain,
    Format.CONTINUATION: _continuation,
}


def _turns(value: Any, name: str, answer: str | None = None) -> list[Message]:
    """Messages as they stand in a row; a plain text is one message of the role ``answer``."""
    if isinstance(value, str) and answer is not None:
        return [{"role": answer, "content": _text(value, name)}]
    if not isinstance(value, list) or not value:
        raise RowError(f"'{name}' is {_kind(value)}, not a list of messages")
    return [_message(turn, f"{name}[{index}]") for index, turn in enumerate(cast("list[Any]", value))]


_ROLES = ("system", "user", "assistant", "tool")
_SAME_ROLE = {"developer": "system", "function": "tool"}


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"{where} is {_kind(turn)}, not a message")
    turn = cast("Mapping[str, Any]", turn)
    role = _SAME_ROLE.get(turn.get("role") or "", turn.get("role"))
    if role not in _ROLES:
        raise RowError(f"{where} has the role {role!r}, which is none of {', '.join(_ROLES)}")
    calls = turn.get("tool_calls") or []
    content = turn.get("content")
    message: Message = {"role": role, "content": "" if content is None and calls else _content(content, where)}
    if calls:
        if role != "assistant":
            raise RowError(f"{where} has tool calls, but its role is {role!r}")
        message["tool_calls"] = [_call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(calls)]
    for name in ("name", "tool_call_id"):
        if turn.get(name) is not None:
            message[name] = _text(turn[name], f"{where}.{name}")
    return message


def _content(content: Any, where: str) -> str:
    """Text, or the texts of OpenAI's list of parts put together."""
    if isinstance(content, list):
        parts: list[str] = []
        for part in cast("list[Any]", content):
            if not isinstance(part, Mapping) or part.get("type") != "text":
                raise RowError(f"{where}.content has a part that is no text")
            parts.append(_text(part.get("text"), f"{where}.content"))
        return "".join(parts)
    return _text(content, f"{where}.content")


def _call(call: Any, where: str) -> dict[str, Any]:
    """A tool call as templates take it: arguments as an object, not as the text of one."""
    if not isinstance(call, Mapping):
        raise RowError(f"{where} is {_kind(call)}, not a tool call")
    call = cast("Mapping[str, Any]", call)
    inner = call.get("function", call)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise RowError(f"{where} names no function")
    arguments = inner.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"{where}: its arguments are")
    if not isinstance(arguments, dict):
        raise RowError(f"{where}: its arguments are {_kind(arguments)}, not an object")
    # A table with a column for each argument of any call (Parquet) fills the others with nulls.
    arguments = {name: value for name, value in cast("dict[str, Any]", arguments).items() if value is not None}
    found = {"type": "function", "function": {"name": inner["name"], "arguments": arguments}}
    return {"id": call["id"], **found} if isinstance(call.get("id"), str) else found


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RowError(f"{what} no JSON: {error}") from error


def _tools(row: Row) -> list[dict[str, Any]]:
    tools: Any = row.get("tools") or []
    if isinstance(tools, str):
        tools = _parsed(tools, "'tools' is")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in cast("list[Any]", tools)):
        raise RowError("'tools' is not a list of schemas")
    return cast("list[dict[str, Any]]", tools)


def _conversation(messages: list[Message]) -> list[Message]:
    """The messages, if something can be learnt from them."""
    if messages[-1]["role"] != "assistant":
        raise RowError("the last message is not the assistant's: nothing after it can be trained")
    if not any(message["role"] == "user" for message in messages):
        raise RowError("no message is the user's")
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and not message["content"].strip() and "tool_calls" not in message:
            raise RowError(f"the assistant's message {index} is empty")
        if message["role"] == "tool" and (index == 0 or messages[index - 1]["role"] not in ("assistant", "tool")):
            raise RowError(f"message {index} is a tool's result, but no call comes before it")
    return messages


def _said(message: Message) -> str:
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls") or []]
    return "\n".join([message["content"], *calls] if message["content"] else calls)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"'{where}' is {_kind(value)}, not text")
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


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)
