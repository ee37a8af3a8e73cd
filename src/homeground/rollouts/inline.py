"""The runner `inline`: an async agent function in this process, whose model calls go through the gateway."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import openai
from openai._models import FinalRequestOptions

from homeground.rollouts.client import Identity
from homeground.rollouts.gateway import Gateway, GatewayClient, RolloutState
from homeground.rollouts.guarded import RolloutFailedError, run_agent
from homeground.rollouts.lifecycle import Attempt, State

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


@runtime_checkable
class Runner(Protocol):
    """Runs the agents of rollouts that the source creates in the gateway."""

    @property
    def at_once(self) -> int:
        """How many rollouts it is given at a time."""
        ...

    def start(self, gateway: Gateway) -> None:
        """Get ready to run agents against a gateway that runs; called again after a restart of it."""
        ...

    def stop(self) -> None:
        """End everything that it started; safe to call twice."""
        ...

    def config(self, rollout_id: str, task: Any) -> dict[str, Any]:
        """What a rollout's record tells a controller."""
        ...

    def rolling(self, client: GatewayClient) -> AbstractAsyncContextManager[None]:
        """Entered around the rollouts of a step."""
        ...

    async def run(self, attempt: Attempt, client: GatewayClient, timeout_s: float) -> None:
        """Run the agent of a rollout that is queuing to its end; moves the attempt to GRADING.

        Raises:
            RolloutFailedError: the agent failed.
            ServiceLostError: not the agent, but what it stands on.
        """
        ...


class RolloutClient(openai.AsyncOpenAI):
    """An OpenAI client whose calls say which call of which rollout they are.

    The gateway forwards the body alone, and siblings send identical bodies, so the body carries the call's seed and,
    as ``prompt_cache_key``, the rollout. What an agent sets itself stays.

    Args:
        identity: of the rollout.
        calls: counts them; a copy of the client goes on with the same count.
        options: of ``openai.AsyncOpenAI``.
    """

    def __init__(self, *, identity: Identity, calls: Iterator[int] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._identity = identity
        self._calls = calls or itertools.count()

    def copy(self, **options: Any) -> Self:
        """See ``openai.AsyncOpenAI.copy``."""
        return super().copy(_extra_kwargs={"identity": self._identity, "calls": self._calls}, **options)

    with_options = copy

    async def _prepare_options(self, options: FinalRequestOptions) -> FinalRequestOptions:
        """OpenAI's hook for subclasses, called once before each request is sent."""
        body = options.json_data
        if isinstance(body, dict) and ("messages" in body or "prompt" in body):
            seed = self._identity.call_seed(next(self._calls))
            identified = {"seed": seed, "prompt_cache_key": self._identity.name}
            options.json_data = identified | body
        return options


class InlineRunner:
    """See the module.

    Args:
        agent: async function of (task, client).
        at_once: rollouts at a time.
    """

    def __init__(self, agent: Callable[[Any, Any], Awaitable[Any]], at_once: int = 64) -> None:
        self._agent = agent
        self.at_once = at_once
        self._key = ""

    def start(self, gateway: Gateway) -> None:
        """See :class:`Runner`."""
        self._key = gateway.key

    def stop(self) -> None:
        """Agents are tasks of the source's; nothing else runs."""

    def config(self, rollout_id: str, task: Any) -> dict[str, Any]:
        """No controller reads it."""
        return {}

    @asynccontextmanager
    async def rolling(self, client: GatewayClient) -> AsyncGenerator[None]:
        """One pool of connections for all agents."""
        async with openai.DefaultAsyncHttpxClient(timeout=None) as self._http:
            yield

    async def run(self, attempt: Attempt, client: GatewayClient, timeout_s: float) -> None:
        """See :class:`Runner`."""
        await client.set_state(attempt.rollout_id, RolloutState.RUNNING)
        attempt.move(State.RUNNING)
        model = RolloutClient(
            identity=attempt.who,
            base_url=client.agent_url(attempt.rollout_id, train=attempt.train),
            api_key=self._key,
            http_client=self._http,
            timeout=timeout_s,
            max_retries=0,
        )
        try:
            attempt.result = await run_agent(self._agent(attempt.task, model), timeout_s)
        except RolloutFailedError:
            await client.set_state(attempt.rollout_id, RolloutState.FAILED)
            raise
        await client.set_state(attempt.rollout_id, RolloutState.SUCCEEDED)
        attempt.move(State.GRADING)
