"""The one renderer of conversations: messages to token ids, and which of them are trained.

A conversation is tokenized piece by piece, cut where the assistant begins and ends to write, because
that is where sampling cuts it: the context of turn n+1 is the ids of turn n, the ids that were *sampled*
there, and the ids of what the template adds. Text is never encoded across that border, so a trained
example and a sampled trajectory have the same ids.

Template marks inside message contents ("<|im_end|>" in an indexed file) are text, not structure: they are
broken up before rendering, so that a document cannot end a turn or open one.

What an assistant writes is read off the template: the text of the conversation with its message less the text that
opens its turn. So tool calls, a trimmed content or an empty block of thoughts are trained as the template has them,
whether or not it marks generated text.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from homeground.base.chat_templates import bound_chat_templates
from homeground.base.errors import HomegroundError
from homeground.policy.tool_text import as_text, knows_tools

bound_chat_templates()

type Message = dict[str, Any]
"""``role`` and ``content`` as OpenAI has them, perhaps ``tool_calls`` (arguments as an object) and ``tool_call_id``."""

type Tools = Sequence[dict[str, Any]]
"""JSON schemas of functions, which a template shows to the model."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids.

    Attributes:
        ids: token ids of the whole conversation up to the last assistant end token.
        trained: indices of the tokens that assistants wrote, end tokens included.
    """

    ids: list[int]
    trained: list[int]


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_turn: bool = True, tools: Tools = ()
) -> str:
    """The template's text of ``messages``; with ``open_turn`` it ends where the assistant starts to write.

    Raises:
        HomegroundError: the tokenizer has no chat template, or the template refuses the messages.
    """
    if not tokenizer.chat_template:
        raise HomegroundError(
            "the model's tokenizer has no chat template",
            where=str(tokenizer.name_or_path),
            hint="use an instruct model, or put a chat_template.jinja beside its tokenizer",
        )
    shown, native = (messages, tools) if knows_tools(tokenizer) else (as_text(messages, tools), ())
    safe = [_defused(tokenizer, message) for message in shown]
    try:
        text = tokenizer.apply_chat_template(
            safe, tools=list(native) or None, add_generation_prompt=open_turn, tokenize=False
        )
    except Exception as cause:  # jinja raises its own family for raise_exception() in templates
        raise HomegroundError(
            f"the chat template refuses these messages: {cause}",
            where=str(tokenizer.name_or_path),
            hint=f"roles given: {[m['role'] for m in messages]}",
        ) from cause
    assert isinstance(text, str)
    return text


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, tools: Tools = (), only_last: bool = False
) -> Rendered:
    """Token ids of a finished conversation and the assistant's share of them.

    Args:
        tokenizer: with a chat template.
        messages: ends with an assistant message.
        tools: that the template shows.
        only_last: train the last assistant message alone; all of them otherwise.

    Raises:
        HomegroundError: no assistant message to train on, a template that leaves tool calls out, or one that rewrites
            earlier turns when later ones are added (ids of an earlier turn would then not be a prefix).
    """
    ids: list[int] = []
    trained: list[int] = []
    before = ""
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    for index in turns:
        opened = prompt_text(tokenizer, messages[:index], tools=tools)
        between = _behind(tokenizer, messages[:index], before, opened) if ids else opened
        if between is None:
            raise HomegroundError(
                "the chat template rewrites earlier turns when a turn is added, so their ids would change",
                where=str(tokenizer.name_or_path),
                hint="split the conversation into examples with one assistant message each",
            )
        ids += encode(tokenizer, between)
        text = _written(tokenizer, messages[: index + 1], opened, tools)
        written = [*encode(tokenizer, text), end_token(tokenizer)]
        if not only_last or index == turns[-1]:
            trained += range(len(ids), len(ids) + len(written))
        ids += written
        before = opened
    if not trained:
        raise HomegroundError(
            "a conversation without an assistant message has nothing to train on",
            where=f"roles {[m['role'] for m in messages]}",
            hint="end every example with an assistant message",
        )
    return Rendered(ids, trained)


def extend(
    tokenizer: PreTrainedTokenizerBase,
    history: Sequence[Message],
    history_ids: list[int],
    messages: Sequence[Message],
    tools: Tools = (),
) -> list[int] | None:
    """Prompt ids of ``messages`` that keep the ids of a turn that was sampled before.

    Args:
        history: the messages of that turn, its assistant message last; a prefix of ``messages``.
        history_ids: prompt ids + sampled ids of that turn.
        tools: that the template shows.

    Returns:
        ids that begin with ``history_ids``, or None when the template does not let the texts line up.
    """
    now = prompt_text(tokenizer, messages, tools=tools)
    behind = _behind(tokenizer, history, prompt_text(tokenizer, history[:-1], tools=tools), now)
    if behind is None:
        return None
    end = end_token(tokenizer)
    closed = history_ids if history_ids[-1] == end else [*history_ids, end]
    return closed + encode(tokenizer, behind)


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of ``text`` as it stands: no token is added."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an assistant's turn: what the template writes behind its content, else the end of text."""
    found = _end_of_turn(tokenizer, str(tokenizer.chat_template)) if tokenizer.chat_template else None
    end: Any = found if found is not None else tokenizer.eos_token_id
    if not isinstance(end, int):
        raise HomegroundError("the tokenizer has no end-of-turn token", hint="set eos_token in tokenizer_config.json")
    return end


_PROBE = "0987"


@functools.lru_cache(maxsize=16)
def _end_of_turn(tokenizer: PreTrainedTokenizerBase, template: str) -> int | None:
    del template  # a part of what is remembered
    messages = [{"role": "user", "content": "1"}, {"role": "assistant", "content": _PROBE}]
    try:
        text = prompt_text(tokenizer, messages, open_turn=False)
    except HomegroundError:
        return None
    tail = encode(tokenizer, text.rpartition(_PROBE)[2])
    known = marks(tokenizer)
    return next((token for token in tail if token in known), None)


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of one token."""
    text = tokenizer.decode([token])
    assert isinstance(text, str)
    return text


def marks(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids of special tokens, those without a role (eos, pad) as well: "<file_sep>" and its like."""
    return {*tokenizer.all_special_ids, *(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)}


def defuse(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """``text`` in which no special token can be recognised: a space goes behind the mark's first character."""
    # all_special_tokens holds only those with a role (eos, pad); "<file_sep>" and its like are marks as well.
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    for token in {*tokenizer.all_special_tokens, *added}:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _defused(tokenizer: PreTrainedTokenizerBase, message: Message) -> Message:
    """The message with all of its texts defused, those inside tool calls too."""

    def safe(value: Any) -> Any:
        if isinstance(value, str):
            return defuse(tokenizer, value)
        if isinstance(value, Mapping):
            return {key: safe(item) for key, item in cast("Mapping[str, Any]", value).items()}
        return [safe(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value

    return {key: value if key == "role" else safe(value) for key, value in message.items()}


def _written(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], opened: str, tools: Tools) -> str:
    """What the assistant writes in the last message, without its end token."""
    message = messages[-1]
    whole = prompt_text(tokenizer, messages, open_turn=False, tools=tools)
    end = token_text(tokenizer, end_token(tokenizer))
    written = whole.removeprefix(opened).rpartition(end)[0] if whole.startswith(opened) and end in whole else ""
    if calls := message.get("tool_calls"):
        if missing := [name for call in calls if (name := call["function"]["name"]) not in written]:
            raise HomegroundError(
                f"the chat template leaves out the call of {missing[0]}",
                where=str(tokenizer.name_or_path),
                hint="use a model whose template knows tool calls, or write them into the message's content",
            )
        return written
    content = defuse(tokenizer, message["content"] or "")
    return written if content.strip() in written else content


def _behind(tokenizer: PreTrainedTokenizerBase, history: Sequence[Message], before: str, now: str) -> str | None:
    """What a longer prompt adds behind the end token of the last assistant message of ``history``.

    A template may show an earlier turn otherwise than when it was the last (trimmed, without its thoughts); what was
    written there keeps its ids.

    Args:
        before: the prompt of that turn.
        now: the longer prompt.

    Returns:
        None when the longer prompt does not go on from there.
    """
    if not now.startswith(before):
        return None
    turn, end, behind = now.removeprefix(before).partition(token_text(tokenizer, end_token(tokenizer)))
    message = next(m for m in reversed(history) if m["role"] == "assistant")
    shown = [defuse(tokenizer, message["content"] or "").strip()]
    shown += [call["function"]["name"] for call in message.get("tool_calls") or []]
    return behind if end and all(text in turn for text in shown) else None
