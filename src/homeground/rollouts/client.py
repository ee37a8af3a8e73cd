"""The part of ``openai.AsyncOpenAI`` that agents use, in process: ``await client.chat.completions.create(...)``.

No HTTP and no extra install. Each client belongs to one rollout; its calls are recorded as the rollout's turns.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.conversation import (
    DEFAULT_MAX_TOKENS,
    MOST_CHOICES,
    Call,
    Conversations,
    refused,
    stop_strings,
)
from homeground.rollouts.sampling import SamplingParams, call_seed
from homeground.rollouts.trajectory import Turn


@dataclass(frozen=True)
class Identity:
    """Whose calls these are: with the number of the call it fixes every sample."""

    seed: int
    step: int
    task: int
    sibling: int

    def call_seed(self, call: int) -> int:
        """The seed of the rollout's n-th call."""
        return call_seed(self.seed, self.step, self.task, self.sibling, call)

    @property
    def name(self) -> str:
        """Unique in a run of one seed."""
        return f"{self.step}-{self.task}-{self.sibling}"


@dataclass(frozen=True)
class _Record:
    def model_dump(self) -> dict[str, Any]:
        """As plain data, like the records of OpenAI's client."""
        return asdict(self)


@dataclass(frozen=True)
class ChatMessage(_Record):
    """What the model wrote."""

    role: str
    content: str


@dataclass(frozen=True)
class Choice(_Record):
    """One answer."""

    index: int
    message: ChatMessage
    finish_reason: str


@dataclass(frozen=True)
class Usage(_Record):
    """Tokens of one call."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class ChatCompletion(_Record):
    """The answer to one call."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"


class LocalClient:
    """One rollout's client.

    Args:
        conversations: answer the calls.
        identity: whose calls they are.
        temperature: of every call, whatever the agent asks for: training divides logits by one temperature.
        max_tokens: where the agent names none.

    Attributes:
        turns: the calls so far, in the order in which they were answered.
    """

    def __init__(
        self,
        conversations: Conversations,
        identity: Identity,
        *,
        temperature: float = 1.0,
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> None:
        self._conversations = conversations
        self._identity = identity
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._calls = 0
        self.turns: list[Turn] = []
        self.chat = _Chat(self)

    async def complete(
        self,
        *,
        messages: Sequence[Any],
        model: str = "policy",
        max_tokens: int | None = None,
        max_completion_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        n: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> ChatCompletion:
        """See ``openai.AsyncOpenAI().chat.completions.create``; ``extra_body`` takes top_k and min_p.

        Raises:
            HomegroundError: a parameter that is not supported, a prompt that does not fit, or a refusing template.
        """
        del temperature
        extra = dict(extra_body or {})
        top_k, min_p = extra.pop("top_k", 0), extra.pop("min_p", 0.0)
        # The same effect-free fields as the server's, and what only an HTTP client has.
        ignored = {"logprobs", "return_token_ids", "timeout", "extra_headers", "extra_query"}
        asked = refused({name: value for name, value in (others | extra).items() if name not in ignored})
        if asked:
            raise HomegroundError(f"the local client does not support {', '.join(asked)} yet", where="an agent's call")
        call, self._calls = self._calls, self._calls + 1
        params = SamplingParams(
            self._temperature,
            1.0 if top_p is None else top_p,
            top_k,
            self._identity.call_seed(call) if seed is None else seed,
            min_p,
        )
        request = Call(
            [_plain(m) for m in messages],
            max_completion_tokens or max_tokens or self._max_tokens,
            params,
            stop_strings(stop),
            min(n or 1, MOST_CHOICES),
            self._identity.name,
        )
        prompt = self._conversations.prompt(request.messages, request.owner)
        try:
            answers = await self._conversations.answer(request, prompt)
        except ValueError as error:
            raise HomegroundError(str(error), where="an agent's call") from error
        choices: list[Choice] = []
        for index, answer in enumerate(answers):
            done = answer.generation
            reason = done.finish_reason.value
            self.turns.append(Turn(done.prompt_ids, done.ids, done.logprobs, reason, done.weights_version))
            choices.append(Choice(index, ChatMessage("assistant", answer.text), reason))
        written = sum(len(a.generation.ids) for a in answers)
        usage = Usage(len(prompt), written, len(prompt) + written)
        return ChatCompletion(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), model, choices, usage)


class _Chat:
    def __init__(self, client: LocalClient) -> None:
        self.completions = _Completions(client)


class _Completions:
    def __init__(self, client: LocalClient) -> None:
        self.create = client.complete


def _plain(message: Any) -> chat.Message:
    """A message given as a dictionary or as a record of this client's or of OpenAI's."""
    fields = message if isinstance(message, Mapping) else message.model_dump()
    content = fields.get("content")
    if not isinstance(content, str):
        raise HomegroundError(
            f"the content of a message must be text, not {type(content).__name__}",
            where=f"a message of role {fields.get('role')!r}",
            hint="join the parts of a message before sending it",
        )
    return {"role": str(fields["role"]), "content": content}
