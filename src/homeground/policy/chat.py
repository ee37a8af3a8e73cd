"""The one renderer of conversations: messages to token ids and the indices of the trained tokens.

A conversation is tokenized in pieces that are split where the assistant's message begins and ends, as in sampling:
the context of turn n+1 is the ids of turn n, the ids that were *sampled* there, and the ids of the text that the
template adds. Text is never encoded across these borders, so a trained example and a sampled trajectory have the
same ids.

Template marks inside message contents ("<|im_end|>" in an indexed file) are text, not structure: they are
broken up before rendering, so that a document cannot end a turn or open one.

The assistant's text is derived from the template: the text of the conversation with the message, minus the text that
opens the turn. So tool calls, trimmed content or a block of thoughts, even an empty one, are trained as the template
renders them, whether or not it marks generated text. Content that a template omits is an error, never dropped silently.

Begin marks: a conversation has those that its template writes; a plain text has those that the tokenizer adds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from homeground.base.chat_templates import bound_chat_templates
from homeground.base.errors import HomegroundError
from homeground.policy.tool_text import THOUGHTS, as_text, knows_tools

bound_chat_templates()

type Message = dict[str, Any]
"""``role`` and ``content`` as OpenAI has them, perhaps ``tool_calls`` (arguments as an object) and ``tool_call_id``.

An assistant's may have thoughts under one of the names of ``THOUGHTS``, and ``weight`` 0: context, not trained.
"""

type Tools = Sequence[dict[str, Any]]
"""JSON schemas of functions, which a template shows to the model."""


class ConversationError(HomegroundError):
    """A conversation that the chat template cannot render faithfully, or that has no trained token."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids.

    Attributes:
        ids: token ids of the whole conversation up to the last assistant end token.
        trained: indices of the tokens that assistants wrote and that are trained, end tokens included.
    """

    ids: list[int]
    trained: list[int]


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_turn: bool = True, tools: Tools = ()
) -> str:
    """The template's text of ``messages``; with ``open_turn`` it ends where the assistant's text begins.

    Raises:
        HomegroundError: the tokenizer has no chat template.
        ConversationError: the template refuses the messages.
    """
    if not tokenizer.chat_template:
        raise HomegroundError(
            "the model's tokenizer has no chat template",
            where=str(tokenizer.name_or_path),
            hint="use an instruct model, or put a chat_template.jinja beside its tokenizer",
        )
    shown, native = (messages, tools) if knows_tools(tokenizer) else (as_text(messages, tools), ())
    safe = [_placed(tokenizer, _defused(tokenizer, message)) for message in shown]
    return _applied(tokenizer, safe, native, open_turn)


def _applied(tokenizer: PreTrainedTokenizerBase, safe: list[Message], native: Tools, open_turn: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            safe, tools=list(native) or None, add_generation_prompt=open_turn, tokenize=False
        )
    except Exception as cause:  # jinja raises its own family for raise_exception() in templates
        raise ConversationError(
            f"the chat template refuses these messages: {cause}",
            where=str(tokenizer.name_or_path),
            hint=f"roles given: {[m['role'] for m in safe]}",
        ) from cause
    assert isinstance(text, str)
    return text


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, tools: Tools = (), only_last: bool = False
) -> Rendered:
    """Token ids of a finished conversation and the indices of the assistant's tokens.

    Weights change which tokens are trained, never the ids. An answer before the first question is context.

    Args:
        tokenizer: with a chat template.
        messages: ends with an assistant message.
        tools: that the template shows.
        only_last: train the last assistant message alone; all of them otherwise.

    Raises:
        ConversationError: no assistant message to train on; a template that leaves out a message, thoughts, tools or
            calls of them; or one that rewrites earlier turns when later ones are added (ids of an earlier turn would
            then not be a prefix).
    """
    ids: list[int] = []
    trained: list[int] = []
    before = opened = ""
    asked = next((index for index, message in enumerate(messages) if message["role"] == "user"), len(messages))
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant" and index > asked]
    for index in turns:
        opened = prompt_text(tokenizer, messages[:index], tools=tools)
        between = _behind(tokenizer, messages[:index], before, opened) if ids else opened
        if between is None:
            raise ConversationError(
                "the chat template rewrites earlier turns when a turn is added, so their ids would change",
                where=str(tokenizer.name_or_path),
                hint="split the conversation into examples with one assistant message each",
            )
        ids += encode(tokenizer, between)
        text = _written(tokenizer, messages[: index + 1], opened, tools)
        written = [*encode(tokenizer, text), end_token(tokenizer)]
        if messages[index].get("weight") != 0 and (not only_last or index == turns[-1]):
            trained += range(len(ids), len(ids) + len(written))
        ids += written
        before = opened
    if not trained:
        raise ConversationError(
            "a conversation without an assistant message that is trained has nothing to train on",
            where=f"roles {[m['role'] for m in messages]}",
            hint="end every example with an assistant message",
        )
    for index, message in enumerate(messages[: turns[-1]]):
        unchecked = message["role"] == "tool" or index in turns
        if not unchecked and defuse(tokenizer, message["content"] or "").strip() not in opened:
            raise ConversationError(
                f"the chat template leaves out the {message['role']}'s message {index}",
                where=str(tokenizer.name_or_path),
                hint="write it into a user's message",
            )
    offered = [str((tool.get("function") or tool).get("name") or "") for tool in tools]
    if missing := [name for name in offered if name not in opened]:
        raise _left_out(tokenizer, f"the tool {missing[0]}", "use a model whose template shows tools")
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


def opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that the tokenizer adds before a plain text: usually none or one begin mark."""
    bare, whole = encode(tokenizer, "a"), list(tokenizer("a")["input_ids"])
    return next((whole[:i] for i in range(len(whole)) if whole[i : i + len(bare)] == bare), [])


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a plain text with the tokenizer's begin mark exactly once: the text may already have it."""
    ids, begin = encode(tokenizer, text), opening(tokenizer)
    return ids if ids[: len(begin)] == begin else [*begin, *ids]


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

    return {key: value if key == "role" else safe(value) for key, value in message.items() if key != "weight"}


_INLINE = ""
_THINK, _THOUGHT = "<think>", "</think>"


def thoughts_of(message: Mapping[str, Any]) -> str:
    """The assistant's thoughts before its answer, from whichever field the message has."""
    return next((str(message[name]) for name in THOUGHTS if message.get(name)), "")


def _placed(tokenizer: PreTrainedTokenizerBase, message: Message) -> Message:
    """Move the message's thoughts to the place where the template reads them."""
    thoughts = thoughts_of(message)
    if not thoughts:
        return message
    place = _place_of_thoughts(tokenizer, str(tokenizer.chat_template))
    rest = {name: value for name, value in message.items() if name not in THOUGHTS}
    if place is None:
        return rest
    if place == _INLINE:
        return {**rest, "content": f"{_THINK}\n{thoughts}\n{_THOUGHT}\n\n{message['content'] or ''}"}
    return {**rest, place: thoughts}


@functools.lru_cache(maxsize=16)
def _place_of_thoughts(tokenizer: PreTrainedTokenizerBase, template: str) -> str | None:
    """Field from which the template renders thoughts; ``_INLINE`` if it only handles their marks, else None."""
    for name in THOUGHTS:
        answer = {"role": "assistant", "content": "1", name: _PROBE}
        try:
            text = _applied(tokenizer, [{"role": "user", "content": "1"}, answer], (), False)
        except ConversationError:
            continue
        if _PROBE in text:
            return name
    return _INLINE if _THOUGHT in template else None


def _shows(text: str, content: str) -> bool:
    """Test whether a text contains a message's content; the space around its thoughts may differ."""
    thoughts, mark, answer = content.rpartition(_THOUGHT)
    parts = (thoughts.replace(_THINK, "", 1).strip(), answer.strip())
    return content.strip() in text or (bool(mark) and all(part in text for part in parts))


def _written(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], opened: str, tools: Tools) -> str:
    """What the assistant writes in the last message, without its end token."""
    message, context = messages[-1], messages[-1].get("weight") == 0
    message = _defused(tokenizer, {**message, "content": message["content"] or ""})
    thoughts, content = thoughts_of(message), str(_placed(tokenizer, message)["content"])
    shown = prompt_text(tokenizer, messages, open_turn=False, tools=tools)
    end = token_text(tokenizer, end_token(tokenizer))
    rest = shown.removeprefix(opened) if shown.startswith(opened) else ""
    # Some templates end an answer with the mark that opens the next question.
    written = rest.rpartition(end)[0] if end in rest else rest.rstrip()
    if not rest:
        written = _continuing(tokenizer, opened, content)
    if calls := message.get("tool_calls"):
        names = [call["function"]["name"] for call in calls]
        if missing := [name for name in names if written.count(name) < names.count(name)]:
            raise _left_out(tokenizer, f"the call of {missing[0]}", "use a model whose template knows tool calls")
        if not _shows(written, content):
            raise _left_out(tokenizer, "the text beside a call", "leave it out, or train the call in a row of its own")
    elif rest and not _shows(written, content):
        written = content
    # A block of thoughts that the template closes, or writes empty, before the thoughts in the content.
    closed = opened.rstrip().endswith(_THOUGHT) or written.count(_THINK) > content.count(_THINK)
    if not context and ((closed and _THOUGHT in content) or thoughts.strip() not in written):
        raise _left_out(tokenizer, "the thoughts of an answer", "use a model that was made to think, or leave them out")
    return written


def _continuing(tokenizer: PreTrainedTokenizerBase, opened: str, content: str) -> str:
    """The part of the content that continues a prompt, without the text that the prompt already holds."""
    if not opened.rstrip().endswith(_THINK):
        return content
    if not content.lstrip().startswith(_THINK):
        raise ConversationError(
            "the chat template opens every answer with thoughts, and this one has none",
            where=str(tokenizer.name_or_path),
            hint="add its thoughts as reasoning_content, or use a model whose template does not ask for them",
        )
    return content.lstrip().removeprefix(_THINK).removeprefix(opened.rpartition(_THINK)[2])


def _left_out(tokenizer: PreTrainedTokenizerBase, what: str, hint: str) -> ConversationError:
    return ConversationError(
        f"the chat template leaves out {what}",
        where=str(tokenizer.name_or_path),
        hint=f"{hint}, or write it as content",
    )


def _behind(tokenizer: PreTrainedTokenizerBase, history: Sequence[Message], before: str, now: str) -> str | None:
    """Text that a longer prompt adds after the end token of the last assistant message of ``history``.

    A template may render an earlier turn differently than when it was the last (trimmed, without its thoughts or their
    opening mark); the sampled text there keeps its ids.

    Args:
        before: the prompt of that turn.
        now: the longer prompt.

    Returns:
        None if the longer prompt does not continue from there.
    """
    if before.rstrip().endswith(_THINK):
        before = before.rpartition(_THINK)[0]
    if not now.startswith(before):
        return None
    turn, end, behind = now.removeprefix(before).partition(token_text(tokenizer, end_token(tokenizer)))
    message = next(m for m in reversed(history) if m["role"] == "assistant")
    shown = [defuse(tokenizer, message["content"] or "").rpartition(_THOUGHT)[2].strip()]
    shown += [call["function"]["name"] for call in message.get("tool_calls") or []]
    return behind if end and all(text in turn for text in shown) else None
