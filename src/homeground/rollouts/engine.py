"""What samples a policy: the protocol that sources, servers and trainers use, and the record it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

from homeground.rollouts.sampling import SamplingParams

if TYPE_CHECKING:
    from homeground.rollouts.grammar import Grammar


class FinishReason(StrEnum):
    """Why a generation ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Generation:
    """What was sampled.

    Attributes:
        prompt_ids: as given.
        ids: sampled tokens; an end token, or the token that completed a stop string, is the last of them.
        logprobs: the policy's log-probability of each.
        finish_reason: an end token or a stop string, or the limit.
        weights_version: how many times the policy had been published when the request began.
        likeliest: of each sampled token the likeliest ones in its place, as far as asked for.
    """

    prompt_ids: list[int]
    ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    weights_version: int
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list[list[tuple[int, float]]])


class Engine(Protocol):
    """:class:`homeground.rollouts.Sampler` is one, :class:`homeground.rollouts.VllmEngine` another."""

    @property
    def weights_version(self) -> int:
        """How many times the policy was published."""
        ...

    @property
    def context(self) -> int:
        """Limit on the tokens of prompt and answer together."""
        ...

    def submit(
        self,
        prompt_ids: Sequence[int],
        max_tokens: int,
        params: SamplingParams | None = None,
        stop_ids: Sequence[int] = (),
        stop: Sequence[str] = (),
        *,
        grammar: Grammar | None = None,
        listen: Callable[[int], None] | None = None,
    ) -> Future[Generation]:
        """Queue a request; cancelling the future ends it."""
        ...

    def publish(self) -> int:
        """Take over the policy's adapter as it is now; returns the new version."""
        ...

    def close(self) -> None:
        """Stop; requests that have not ended are cancelled."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def check_request(prompt_ids: Sequence[int], max_tokens: int, stop: Sequence[str], context: int) -> None:
    """Refuse what no engine can do.

    Raises:
        ValueError: empty prompt or stop string, nothing to sample, or more than the model's context.
    """
    if not prompt_ids or max_tokens < 1:
        raise ValueError("a request needs a prompt of at least one token and max_tokens >= 1")
    if isinstance(stop, str) or not all(stop):
        raise ValueError("stop is a list of non-empty strings")
    if len(prompt_ids) + max_tokens > context:
        raise ValueError(f"{len(prompt_ids)} prompt tokens and {max_tokens} to sample exceed the context of {context}")
