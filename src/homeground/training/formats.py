"""Formats of training rows: detect a row's format and read it as a conversation, a text or a preference pair.

==================  ==========================================================================================
format              fields
==================  ==========================================================================================
messages            ``messages``: OpenAI's, with ``tool_calls`` and tool results; ``tools`` beside it
prompt, completion  ``prompt`` and ``completion``, texts or lists of messages; the prompt is context
Alpaca              ``instruction`` and ``output``; ``input``, ``system`` and ``history``, which is context
ShareGPT            ``conversations``: ``from`` (system, human, gpt, function_call, observation) and ``value``
text                ``text``: every token is trained
continuation        ``prefix`` and ``continuation``: plain text, no template; the continuation is trained
preference          ``chosen`` and ``rejected``, with ``prompt`` or with the prompt as their common beginning
==================  ==========================================================================================

Messages may use OpenAI's or ShareGPT's fields in any list (:mod:`homeground.training.turns`). ``"unfinished": true`` in
any row but a preference means that the last text was truncated: its end is not trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from homeground.policy.chat import Message, thoughts_of
from homeground.policy.tool_text import THOUGHTS
from homeground.training.turns import KNOWN, RowError, conversation, parsed, text, tools, turns, yes_or_no

if TYPE_CHECKING:
    from homeground.policy import TokenPath

type Row = Mapping[str, Any]

_SHOWN = 5


class Format(StrEnum):
    """See the module's table."""

    PREFERENCE = "preference"
    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt-completion"
    TEXT = "text"
    CONTINUATION = "continuation"


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
        origin: ``path::symbol`` of what the row is about, where its `source` says so; no part of what it teaches.
        path: the example as token ids, once it is rendered.
    """

    format: Format
    messages: list[Message] = field(default_factory=list)
    text: str = ""
    prefix: str = ""
    rejected: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    unfinished: bool = False
    place: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)
    path: TokenPath | None = field(default=None, compare=False, repr=False)

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


@dataclass(frozen=True)
class Rejected:
    """A row that teaches nothing: where it is (file:line, or file:row from 1) and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def first_of(rejected: Sequence[Rejected]) -> str:
    """Join the first few on one line."""
    return "; ".join(map(str, rejected[:_SHOWN]))


def example_of(row: Row) -> Example:
    """A row as an example.

    Raises:
        RowError: it has no known format, or not what its format asks for.
    """
    found = format_of(row)
    if found is None:
        keys = ", ".join(name if row[name] is not None else f"{name} (null)" for name in sorted(row)) or "none"
        raise RowError(f"no known format: its fields are {keys}")
    _refuse_flags(row, found)
    example = _READERS[found](row)
    # Only the word itself: a set of somebody else's may use the field for something of its own.
    return replace(example, unfinished=True) if row.get("unfinished") is True else example


def without_nulls(value: Any) -> Any:
    """Drop a row's null fields: Arrow gives every object the fields of all objects."""
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        return {name: without_nulls(item) for name, item in fields.items() if item is not None}
    return [without_nulls(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


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


_BESIDE = {
    Format.PREFERENCE: {"prompt", "tools", "functions"},
    Format.MESSAGES: {"system", "tools", "functions"},
    Format.SHAREGPT: {"system", "tools", "functions"},
    Format.ALPACA: {"input", "system", "history", *THOUGHTS},
    Format.PROMPT_COMPLETION: {"system", "tools", "functions", *THOUGHTS},
    Format.TEXT: set[str](),
    Format.CONTINUATION: set[str](),
}
_ROW_FLAGS = ("weight", "sample_weight", "train", "training")
_LIKED = ("label", "kto_tag")
_UNSEEN = ("image", "images", "video", "videos", "audio", "audios")


def unread_fields(row: Row, found: Format) -> set[str]:
    """Fields of a row, and of its messages, that this format ignores."""
    known = {*_FIELDS[found], *_BESIDE[found], *_ROW_FLAGS, "unfinished"}
    unread = {name for name, value in row.items() if value is not None and name not in known}
    for name in _FIELDS[found] | {"prompt"}:
        listed: Any = row.get(name)
        for turn in cast("list[Any]", listed) if isinstance(listed, list) else ():
            if isinstance(turn, Mapping):
                given = cast("Mapping[str, Any]", turn).items()
                unread |= {f"{name}[].{key}" for key, value in given if value is not None and key not in KNOWN}
    return unread


def _refuse_flags(row: Row, found: Format) -> None:
    """Raise RowError if a field marks the row as unsuitable for training."""
    for name in _ROW_FLAGS:
        if row.get(name) is not None and not yes_or_no(row[name], name):
            raise RowError(f"'{name}' of the row says that it is not trained")
    if row.get("loss_mask") is not None:
        raise RowError("'loss_mask' of the row is not read: mark whole messages, by 'weight' 0 or 1")
    for name in _UNSEEN:
        if row.get(name):
            raise RowError(f"the row has '{name}': the model reads text only")
    for name in _LIKED if found not in (Format.TEXT, Format.CONTINUATION) else ():
        if str(row.get(name)).lower() in ("true", "false"):
            raise RowError(f"'{name}' says whether the answer is liked (KTO), which is not learnt from here: "
                           "keep the rows that are, without the field")  # fmt: skip


def _preference(row: Row) -> Example:
    chosen, rejected = (turns(row[name], name, answer="assistant") for name in ("chosen", "rejected"))
    if row.get("prompt") is not None:
        prompt = turns(row["prompt"], "prompt", answer="user")
        chosen, rejected = ([*prompt, *part] if part[: len(prompt)] != prompt else part for part in (chosen, rejected))
    if chosen[:-1] != rejected[:-1]:
        raise RowError("'chosen' and 'rejected' do not answer the same prompt")
    if len(chosen) < 2:
        raise RowError("the pair has no prompt: add 'prompt', or begin 'chosen' and 'rejected' with it")
    if chosen == rejected:
        raise RowError("'chosen' and 'rejected' are the same")
    if any(part[-1]["role"] != "assistant" or part[-1].get("weight") == 0 for part in (chosen, rejected)):
        raise RowError("'chosen' and 'rejected' do not both end with an answer that is trained")
    return Example(Format.PREFERENCE, conversation(chosen), rejected=conversation(rejected), tools=tools(row))


def _messages(row: Row) -> Example:
    return _chat(Format.MESSAGES, row, turns(row["messages"], "messages"))


def _sharegpt(row: Row) -> Example:
    return _chat(Format.SHAREGPT, row, turns(row["conversations"], "conversations"))


def _prompt_completion(row: Row) -> Example:
    prompt = [_context(one) for one in turns(row["prompt"], "prompt", answer="user")]
    if prompt[-1]["role"] == "assistant":
        raise RowError("'prompt' ends with the assistant's message, which a completion cannot go on with")
    return _chat(Format.PROMPT_COMPLETION, row, [*prompt, *_answer(row, "completion")])


def _alpaca(row: Row) -> Example:
    fields = ["instruction", *(["input"] if _given(row, "input") else [])]
    asked = "\n\n".join(said for name in fields if (said := text(row[name], name)))
    told = [*_history(row), {"role": "user", "content": asked}, *_answer(row, "output")]
    return _chat(Format.ALPACA, row, told)


def _history(row: Row) -> list[Message]:
    """Earlier questions and answers, as context."""
    given: Any = row.get("history") or []
    given = parsed(given, "'history' is text and") if isinstance(given, str) else given
    pairs = cast("list[Any]", given) if isinstance(given, list) else [given]
    told: list[Message] = []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(cast("list[Any]", pair)) != 2:
            raise RowError(f"'history' is not a list of questions with their answers (number {index})")
        asked, answer = (text(one, f"history[{index}]") for one in cast("list[Any]", pair))
        told += [{"role": "user", "content": asked}, _context({"role": "assistant", "content": answer})]
    return told


def _context(one: Message) -> Message:
    return {**one, "weight": 0} if one["role"] == "assistant" else one


def _answer(row: Row, name: str) -> list[Message]:
    """Answer in a field, with the thoughts in the row's other fields."""
    if not isinstance(row[name], str):
        if beside := next((one for one in THOUGHTS if row.get(one)), None):
            raise RowError(f"'{beside}' stands beside a list of messages: put it into the message that it belongs to")
        return turns(row[name], name)
    (made,) = turns([{"role": "assistant", "content": row[name], **{one: row.get(one) for one in THOUGHTS}}], name)
    return [made]


def _chat(found: Format, row: Row, told: list[Message]) -> Example:
    """Conversation after the row's own system prompt."""
    if _given(row, "system"):
        system = {"role": "system", "content": text(row["system"], "system")}
        if told[0]["role"] != "system":
            told = [system, *told]
        elif told[0] != system:
            raise RowError("the row has two system prompts: 'system', and one in its messages")
    return Example(found, conversation(told), tools=tools(row))


def _given(row: Row, name: str) -> bool:
    return row.get(name) is not None and row[name] != ""


def _plain(row: Row) -> Example:
    written = text(row["text"], "text")
    if not written.strip():
        raise RowError("'text' is empty")
    return Example(Format.TEXT, text=written)


def _continuation(row: Row) -> Example:
    prefix, written = text(row["prefix"], "prefix"), text(row["continuation"], "continuation")
    if not prefix or not written:
        raise RowError(f"'{'prefix' if not prefix else 'continuation'}' is empty")
    return Example(Format.CONTINUATION, text=written, prefix=prefix)


_READERS: dict[Format, Callable[[Row], Example]] = {
    Format.PREFERENCE: _preference,
    Format.MESSAGES: _messages,
    Format.SHAREGPT: _sharegpt,
    Format.ALPACA: _alpaca,
    Format.PROMPT_COMPLETION: _prompt_completion,
    Format.TEXT: _plain,
    Format.CONTINUATION: _continuation,
}


def _said(message: Message) -> str:
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls") or []]
    return "\n".join(part for part in (thoughts_of(message), message["content"], *calls) if part)
