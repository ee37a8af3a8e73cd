"""The one renderer of conversations: messages to token ids, and which of them are trained.

A conversation is tokenized piece by piece, cut where the assistant begins and ends to write, because
that is where sampling cuts it: the context of turn n+1 is the ids of turn n, the ids that were *sampled*
there, and the ids of what the template adds. Text is never encoded across that border, so a trained
example and a sampled trajectory have the same ids.

Template marks inside message contents ("<|im_end|>" in an indexed file) are text, not structure: they are
broken up before rendering, so that a document cannot end a turn or open one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError

type Message = dict[str, str]


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids.

    Attributes:
        ids: token ids of the whole conversation up to the last assistant end token.
        trained: indices of the tokens that assistants wrote, end tokens included.
    """

    ids: list[int]
    trained: list[int]


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_turn: bool = True) -> str:
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
    safe = [{**m, "content": defuse(tokenizer, m["content"])} for m in messages]
    try:
        text = tokenizer.apply_chat_template(safe, add_generation_prompt=open_turn, tokenize=False)
    except Exception as cause:  # jinja raises its own family for raise_exception() in templates
        raise HomegroundError(
            f"the chat template refuses these messages: {cause}",
            where=str(tokenizer.name_or_path),
            hint=f"roles given: {[m['role'] for m in messages]}",
        ) from cause
    assert isinstance(text, str)
    return text


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Rendered:
    """Token ids of a finished conversation and the assistant's share of them.

    Args:
        tokenizer: with a chat template.
        messages: ends with an assistant message.

    Raises:
        HomegroundError: no assistant message to train on, or a template that rewrites earlier turns
            when later ones are added (ids of an earlier turn would then not be a prefix).
    """
    ids: list[int] = []
    trained: list[int] = []
    done = ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        opened = prompt_text(tokenizer, messages[:index])
        ids += encode(tokenizer, _continuation(tokenizer, done, opened))
        written = [*encode(tokenizer, defuse(tokenizer, message["content"])), end_token(tokenizer)]
        trained += range(len(ids), len(ids) + len(written))
        ids += written
        done = opened + defuse(tokenizer, message["content"]) + token_text(tokenizer, end_token(tokenizer))
    if not trained:
        raise HomegroundError(
            "a conversation without an assistant message has nothing to train on",
            where=f"roles {[m['role'] for m in messages]}",
            hint="end every example with an assistant message",
        )
    return Rendered(ids, trained)


def extend(
    tokenizer: PreTrainedTokenizerBase, history: Sequence[Message], history_ids: list[int], messages: Sequence[Message]
) -> list[int] | None:
    """Prompt ids of ``messages`` that keep the ids of a turn that was sampled before.

    Args:
        history: the messages of that turn, its assistant message last; a prefix of ``messages``.
        history_ids: prompt ids + sampled ids of that turn.

    Returns:
        ids that begin with ``history_ids``, or None when the template does not let the texts line up.
    """
    before = prompt_text(tokenizer, history[:-1]) + defuse(tokenizer, history[-1]["content"])
    end = end_token(tokenizer)
    before += token_text(tokenizer, end)
    now = prompt_text(tokenizer, messages)
    if not now.startswith(before):
        return None
    closed = history_ids if history_ids[-1] == end else [*history_ids, end]
    return closed + encode(tokenizer, now[len(before) :])


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of ``text`` as it stands: no token is added."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an assistant's turn."""
    end: Any = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise HomegroundError("the tokenizer has no end-of-turn token", hint="set eos_token in tokenizer_config.json")
    return end


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of one token."""
    text = tokenizer.decode([token])
    assert isinstance(text, str)
    return text


def defuse(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """``text`` in which no special token can be recognised: a space goes behind the mark's first character."""
    # all_special_tokens holds only those with a role (eos, pad); "<file_sep>" and its like are marks as well.
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    for token in {*tokenizer.all_special_tokens, *added}:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _continuation(tokenizer: PreTrainedTokenizerBase, done: str, opened: str) -> str:
    if not opened.startswith(done):
        raise HomegroundError(
            "the chat template rewrites earlier turns when a turn is added, so their ids would change",
            where=str(tokenizer.name_or_path),
            hint="split the conversation into examples with one assistant message each",
        )
    return opened[len(done) :]
