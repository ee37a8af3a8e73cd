"""Parse tool calls from a model's output, in the formats of the model families.

- Hermes and Qwen: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, as often as there are calls;
- Mistral: ``[TOOL_CALLS]`` and a list of such objects, or ``[TOOL_CALLS]name[ARGS]{...}``, also with ``[CALL_ID]id``
  before the arguments or nothing between them and the name;
- Llama 3: ``<|python_tag|>`` or nothing before an object whose arguments are called ``parameters``, several with ``;``;
- plain: an object, or a list of them, and nothing else.

The text is read once from left to right. If JSON follows a mark, the JSON decoder finds its end, so a mark inside an
argument is part of the argument. Thoughts (``<think>...</think>`` and similar marks) and code blocks are never calls.
Calls that are malformed or name an unknown function stay text, so that the agent sees the model's output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from pydantic_core import from_json
from transformers import PreTrainedTokenizerBase

from homeground.policy.tool_text import CALL, CALL_END

_MISTRAL, _LLAMA = "[TOOL_CALLS]", "<|python_tag|>"
_THOUGHTS = {
    **{f"<{name}>": f"</{name}>" for name in ("think", "thinking", "thought", "reasoning", "seed:think")},
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
}
_FENCES = ("```", "~~~")
_MARK = re.compile("|".join(map(re.escape, [CALL, _MISTRAL, _LLAMA, *_THOUGHTS, *_THOUGHTS.values(), *_FENCES])))
_MISTRAL_HEAD = re.compile(r"\s*([\w.:/-]+)\s*(?:\[CALL_ID\][^\[{]*)?(\[ARGS\])?\s*")
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class ToolCall:
    """A function to be called, its arguments as an object."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Result of searching a text for calls.

    Attributes:
        beside: the text without the calls; all of it where there is none or one is malformed.
        calls: in their order.
        malformed: number of spans that begin like a call but are none: truncated, not JSON, or of a function that was
            not offered.
    """

    beside: str
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    malformed: int = 0


def find_calls(text: str, offered: Collection[str] | None, *, thinking: bool = False) -> Found:
    """Find the calls in a text, except in thoughts and code blocks.

    Args:
        text: written by a model, marks included, its end token not.
        offered: names of the functions that may be called. None if they are unknown: any name is then accepted between
            marks, and an object without marks is not a call.
        thinking: whether the text begins inside thoughts that the prompt has opened.
    """
    reader = _Reader(text, offered)
    reader.read(_after_thoughts(text, "</think>", 0) if thinking else 0)
    if not reader.seen and offered is not None:
        reader.read_bare()
    if reader.malformed or not reader.calls:
        return Found(text, malformed=reader.malformed)
    beside = "".join(
        [text[end:start] for end, start in zip([0, *reader.ends], [*reader.starts, len(text)], strict=True)]
    )
    return Found(beside.strip(), reader.calls)


def begun_thinking(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int]) -> bool:
    """Test whether a prompt ends inside opened thoughts, as with some chat templates."""
    return str(tokenizer.decode(list(prompt_ids[-8:]))).rstrip().endswith("<think>")


class _Reader:
    """Reads one text; ``starts`` and ``ends`` are the positions of its calls."""

    def __init__(self, text: str, offered: Collection[str] | None) -> None:
        self._text, self._offered = text, offered
        self._forget(0)

    def _forget(self, thought: int) -> None:
        self.calls: list[ToolCall] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.malformed, self.seen, self._thought = 0, False, thought

    def read(self, place: int) -> None:
        """Read all marked calls from a position on."""
        self._thought = place
        while found := _MARK.search(self._text, place):
            mark, start, place = found[0], found.start(), found.end()
            if mark in _THOUGHTS:
                place = _after_thoughts(self._text, _THOUGHTS[mark], place)
                if not self.seen and not self._text[self._thought : start].strip():
                    self._thought = place
            elif mark in _THOUGHTS.values():
                # The prompt had opened the thoughts, so all text before this mark belongs to them.
                self._forget(place)
            elif mark in _FENCES:
                closing = self._text.find(f"\n{mark}", place) if self._begins_line(start) else start
                place = len(self._text) if closing < 0 else max(place, closing + 1 + len(mark))
            elif not self._text.endswith("`", 0, start):
                place = self._marked(mark, start, place)

    def _begins_line(self, place: int) -> bool:
        return not self._text[self._text.rfind("\n", 0, place) + 1 : place].strip()

    def _marked(self, mark: str, start: int, place: int) -> int:
        """Read the text after a mark; return the position to continue from."""
        objects, end = self._objects(mark, place)
        if objects is None:
            return place  # the mark is only mentioned
        self.seen = True
        if not self._take(objects, start, end):
            self.malformed += 1
            return place
        return end

    def _objects(self, mark: str, place: int) -> tuple[list[Any] | None, int]:
        """Read the objects after a mark and their end; None if the mark begins no call, [None] for a malformed call."""
        text, begin = self._text, _skip(self._text, place)
        if mark == _MISTRAL:
            head = _MISTRAL_HEAD.match(text, place)
            if head is not None and (head[2] or text.startswith("{", head.end())):
                arguments, end = _value(text, head.end())
                return [{"name": head[1], "arguments": arguments}], end
        if not text.startswith(("{", "["), begin):
            closing = text.find(CALL_END, place)
            opening = text.find(CALL, place)
            tried = mark == CALL and closing >= 0 and not 0 <= opening < closing
            return ([None] if tried else None), place
        if mark == _LLAMA:
            return _several(text, begin)
        value, end = _value(text, begin)
        if mark == CALL:
            behind = _skip(text, end)
            if text.startswith(CALL_END, behind):
                return [value], behind + len(CALL_END)
            return [value if behind == len(text) else None], behind
        return _listed(value), end

    def read_bare(self) -> None:
        """Read a text that consists only of objects after its thoughts."""
        begin = _skip(self._text, self._thought)
        if not self._text.startswith(("{", "["), begin):
            return
        objects, end = _several(self._text, begin)
        if end == len(self._text):
            self._take(objects, self._thought, end)

    def _take(self, objects: list[Any], start: int, end: int) -> bool:
        calls = [_call(found, self._offered) for found in objects]
        if not calls or not all(calls):
            return False
        self.calls += cast("list[ToolCall]", calls)
        self.starts.append(start)
        self.ends.append(end)
        return True


def _after_thoughts(text: str, closing: str, place: int) -> int:
    end = text.find(closing, place)
    return len(text) if end < 0 else end + len(closing)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()


def _no_json(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_no_json)


def _value(text: str, place: int) -> tuple[Any, int]:
    """Decode the JSON at a position and return it with its end; None if there is none."""
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, place


def _several(text: str, place: int) -> tuple[list[Any], int]:
    """Read objects that are separated by ``;``."""
    objects: list[Any] = []
    while True:
        value, end = _value(text, place)
        objects += _listed(value)
        place = _skip(text, end)
        if value is None or not text.startswith(";", place):
            return objects, place
        place = _skip(text, place + 1)


def _listed(found: Any) -> list[Any]:
    return cast("list[Any]", found) if isinstance(found, list) else [found]


def _call(found: Any, offered: Collection[str] | None) -> ToolCall | None:
    if not isinstance(found, dict):
        return None
    fields = cast("dict[str, Any]", found)
    fields = fields["function"] if isinstance(fields.get("function"), dict) else fields
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _whole(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    if offered is not None and name not in offered:
        return None
    try:
        # JSON can hold lone surrogates, infinities and depths that a response cannot.
        from_json(json.dumps([name, arguments], ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        return None
    return ToolCall(name, cast("dict[str, Any]", arguments))


def _whole(text: str) -> Any:
    begin = _skip(text, 0)
    value, end = _value(text, begin)
    return value if _skip(text, end) == len(text) else None
