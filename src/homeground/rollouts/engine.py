"""Engines that sample a policy: the base class that sources and servers use, and its records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

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


@dataclass(frozen=True)
class SamplingRequest:
    """One request to sample.

    Attributes:
        prompt_ids: at least one token.
        max_tokens: at most this many are sampled (>= 1).
        params: temperature and the like.
        stop_ids: sampling one of these ends the answer; it is kept.
        stop: the answer ends when its decoded text contains one of these; the token that completes it is kept.
        grammar: constrains the answer; used up by this request.
        listen: called with each token as it is sampled, from the engine's thread: return at once.
    """

    prompt_ids: list[int]
    max_tokens: int
    params: SamplingParams
    stop_ids: frozenset[int]
    stop: list[str]
    grammar: Grammar | None
    listen: Callable[[int], None] | None


class Engine(ABC):
    """Samples a policy in its own thread; use it as a context manager.

    :class:`homeground.rollouts.Sampler` is one, :class:`homeground.rollouts.VllmEngine` another.

    Attributes:
        context: limit on the tokens of prompt and answer together.
        weights_version: how many times the policy was published.
    """

    context: int
    weights_version: int

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
        """Queue a request, see :class:`SamplingRequest`; cancelling the future ends it. By default at temperature 1.

        Raises:
            ValueError: empty prompt or stop string, nothing to sample, more than the model's context, or what this
                engine cannot do.
        """
        if not prompt_ids or max_tokens < 1:
            raise ValueError("a request needs a prompt of at least one token and max_tokens >= 1")
        if isinstance(stop, str) or not all(stop):
            raise ValueError("stop is a list of non-empty strings")
        if (length := len(prompt_ids)) + max_tokens > self.context:
            raise ValueError(f"{length} prompt tokens and {max_tokens} to sample exceed the context of {self.context}")
        return self.start(
            SamplingRequest(
                list(prompt_ids),
                max_tokens,
                params or SamplingParams(),
                frozenset(stop_ids),
                list(stop),
                grammar,
                listen,
            )
        )

    @abstractmethod
    def start(self, request: SamplingRequest) -> Future[Generation]:
        """Queue a request that has been checked."""

    @abstractmethod
    def publish(self) -> int:
        """Take over the policy's adapter as it is now; returns the new version."""

    @abstractmethod
    def close(self) -> None:
        """Stop; requests that have not ended are cancelled."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
