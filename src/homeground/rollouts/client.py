"""The part of ``openai.AsyncOpenAI`` that agents use, in process: ``await client.chat.completions.create(...)``.

No HTTP and no extra install. Each client belongs to one rollout; its calls are recorded as the rollout's turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.rollouts.conversation import DEFAULT_MAX_TOKENS, Conversations
from homeground.rollouts.responses import Response
from homeground.rollouts.sampling import call_seed
from homeground.rollouts.trajectory import Turn

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

    from homeground.rollouts.requests import ChatRequest

MODEL = "policy"
_HTTP = {"extra_body", "extra_headers", "extra_query", "timeout"}


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
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.complete))

    async def complete(self, *, messages: Sequence[Any], **fields: Any) -> ChatCompletion:
        """See ``openai.AsyncOpenAI().chat.completions.create``; ``extra_body`` takes top_k and min_p.

        Raises:
            HomegroundError: a parameter that is not supported, a prompt that does not fit, or a refusing template.
        """
        from openai.types.chat import ChatCompletion

        from homeground.rollouts.requests import ApiError

        call, self._calls = self._calls, self._calls + 1
        try:
            body = _request(messages, fields)
            asked = body.call(self._identity.name, self._max_tokens)
            seed = self._identity.call_seed(call) if body.seed is None else body.seed
            asked = replace(asked, params=replace(body.params(seed), temperature=self._temperature))
            prompt = self._conversations.prompt(asked.messages, asked.owner, asked.tools)
            answers = await self._conversations.answer(asked, prompt)
        except (ApiError, ValueError) as error:
            raise HomegroundError(str(error), where="an agent's call") from error
        for answer in answers:
            done = answer.generation
            self.turns.append(
                Turn(done.prompt_ids, done.ids, done.logprobs, done.finish_reason.value, done.weights_version)
            )
        response = Response(
            body.model, self._conversations.tokenizer, chat=True, likeliest=body.likeliest, ids=body.return_token_ids
        )
        return ChatCompletion.model_validate(response.whole(answers))


def _request(messages: Sequence[Any], fields: Mapping[str, Any]) -> ChatRequest:
    """An agent's call as a request, without what only HTTP has."""
    from pydantic import ValidationError

    from homeground.rollouts.requests import ApiError, ChatRequest

    given = {name: value for name, value in fields.items() if name not in _HTTP and value is not None}
    given |= dict(fields.get("extra_body") or {})
    said = [message if isinstance(message, Mapping) else message.model_dump() for message in messages]
    try:
        body = ChatRequest.model_validate({"model": MODEL, **given, "messages": said})
    except ValidationError as error:
        first = error.errors()[0]
        raise ApiError(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    body.check(body.model)
    if body.stream:
        raise ApiError(400, "the local client does not support stream yet")
    return body
