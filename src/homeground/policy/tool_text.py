"""Tools for models whose chat template knows none: written into the conversation as text.

The form is that of Hermes, which Qwen's templates use as well: schemas between ``<tools>`` tags in the first message
(some templates have no system message), a call as ``<tool_call>`` around a JSON object with ``name`` and ``arguments``,
a result as ``<tool_response>`` in a user's message. A template that knows tool calls gets them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Fields of an assistant's message that may hold its thoughts before the answer."""
CALL, CALL_END = "<tool_call>", "</tool_call>"
RESULT, RESULT_END = "<tool_response>", "</tool_response>"
_OFFER = """You may call functions to help with the user's request. Their signatures are:
<tools>
{tools}
</tools>
For each call write a JSON object with its name and arguments between tags:
<tool_call>
{{"name": "NAME", "arguments": {{...}}}}
</tool_call>"""


def knows_tools(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template renders tool calls itself."""
    return "tool_calls" in str(tokenizer.chat_template)


def as_text(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation in roles and contents alone."""
    plain = [_plain(message) for message in messages]
    if not tools:
        return plain
    offer = _OFFER.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    at = next((index for index, message in enumerate(plain) if message["role"] != "assistant"), 0)
    first = plain[at]
    parts = (first["content"], offer) if first["role"] == "system" else (offer, first["content"])
    return [*plain[:at], {**first, "content": "\n\n".join(parts)}, *plain[at + 1 :]]


def call_text(name: str, arguments: Any) -> str:
    """One call as the model writes it."""
    return f"{CALL}\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n{CALL_END}"


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ""
    if message["role"] == "tool":
        return {"role": "user", "content": f"{RESULT}\n{content}\n{RESULT_END}"}
    thoughts = {name: message[name] for name in THOUGHTS if message.get(name)}
    if not (calls := message.get("tool_calls")):
        return {"role": message["role"], "content": content, **thoughts}
    written = [call_text(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    text = "\n".join([content, *written] if content else written)
    return {"role": message["role"], "content": text, **thoughts}
