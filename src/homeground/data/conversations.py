"""Conversations as JSON lines, ``{"messages": [{"role", "content"}, ...]}``, and their rendering for training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl
from homeground.policy import TokenPath, render
from homeground.policy.chat import Message

ROLES = ("system", "user", "assistant")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: str = Field(pattern=f"^({'|'.join(ROLES)})$")
    content: str


class _Conversation(BaseModel):
    messages: list[_Message] = Field(min_length=2)

    @model_validator(mode="after")
    def _answered(self) -> _Conversation:
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message must be the assistant's: nothing after it can be trained")
        return self


def save_conversations(path: Path, conversations: Iterable[Sequence[Message]]) -> None:
    """Write one conversation a line, whole or not at all."""
    atomic_write_jsonl(path, ({"messages": list(messages)} for messages in conversations))


def load_conversations(path: Path) -> list[list[Message]]:
    """Read conversations.

    Raises:
        HomegroundError: the file is missing or empty, or a line is no conversation; names the line and what is wrong.
    """
    hint = 'each line is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HomegroundError(f"the conversations cannot be read: {error}", where=str(path), hint=hint) from error
    conversations: list[list[Message]] = []
    # Not splitlines: JSON leaves U+2028 and its like unescaped inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            conversation = _Conversation.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise HomegroundError(f"{place}: {first['msg']}", where=f"{path}:{number}", hint=hint) from error
        conversations.append([m.model_dump() for m in conversation.messages])
    if not conversations:
        raise HomegroundError("the file holds no conversation", where=str(path), hint=hint)
    return conversations


def render_examples(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]], *, limit: int
) -> list[TokenPath]:
    """Conversations as paths: loss on what assistants wrote, their end tokens included.

    Args:
        tokenizer: of the policy that will be trained.
        conversations: each ends with an assistant message.
        limit: the model's context, tokens.

    Raises:
        HomegroundError: a conversation is longer than the context.
    """
    paths: list[TokenPath] = []
    for number, messages in enumerate(conversations, start=1):
        rendered = render(tokenizer, messages)
        if len(rendered.ids) > limit:
            raise HomegroundError(
                f"conversation {number} has {len(rendered.ids)} tokens, the model's context is {limit}",
                hint="shorten it, or leave it out",
            )
        paths.append(TokenPath(rendered.ids, rendered.trained))
    return paths
