"""Rollouts through the Agent Lightning gateway: async agents whose model calls it records and forwards to us."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import httpx
import openai
from openai._models import FinalRequestOptions

from homeground.base.errors import HomegroundError
from homeground.base.threads import release_workers
from homeground.rollouts.client import Identity
from homeground.rollouts.gateway import Gateway, GatewayClient, RolloutState
from homeground.rollouts.server import ModelServer
from homeground.rollouts.source import Agent
from homeground.rollouts.trajectory import AgentResult, Trajectory, Turn


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
        if isinstance(body, dict) and "messages" in body:
            seed = self._identity.call_seed(next(self._calls))
            identified = {"seed": seed, "prompt_cache_key": self._identity.name}
            options.json_data = identified | body
        return options


class GatewaySource:
    """Agents through Agent Lightning; use it as a context manager.

    Args:
        gateway: a running one.
        server: our model server, entered.
        agent: async function of (task, client); its calls are the trajectory, its result carries the reward.
        timeout_s: a rollout that takes longer has failed.
        concurrency: rollouts at once.
        describe: what of a task the gateway stores as the rollout's input (JSON).
        seed: with step, task, sibling and call it fixes every sample.
    """

    def __init__(
        self,
        gateway: Gateway,
        server: ModelServer,
        agent: Agent,
        *,
        timeout_s: float = 120.0,
        concurrency: int = 64,
        describe: Callable[[Any], Any] = str,
        seed: int = 0,
    ) -> None:
        self._gateway = gateway
        self._server = server
        self._agent = agent
        self._timeout = timeout_s
        self._concurrency = concurrency
        self._describe = describe
        self._seed = seed
        self._version = 0
        self._runner = asyncio.Runner()

    def __enter__(self) -> GatewaySource:
        self._http = httpx.AsyncClient(
            timeout=self._timeout, limits=httpx.Limits(max_connections=2 * self._concurrency)
        )
        self._agents_http = openai.DefaultAsyncHttpxClient(timeout=self._timeout)
        self._client = GatewayClient(self._gateway, self._http)
        self.published()
        return self

    def __exit__(self, *_: object) -> None:
        # The gateway may be gone, and its registrations with it.
        with contextlib.suppress(HomegroundError):
            self._runner.run(self._client.forget_models())
        with contextlib.suppress(RuntimeError):
            self._runner.run(self._http.aclose())
            self._runner.run(self._agents_http.aclose())
        self._runner.close()

    def published(self) -> None:
        """Register the model server with its new version, so that events carry it."""
        self._runner.run(self._client.register_model(self._server.model, self._server.endpoint, self._version))
        self._version += 1

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`Source`."""
        release_workers()
        return self._runner.run(self._collect(tasks, group_size, step))

    async def _collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        gate = asyncio.Semaphore(self._concurrency)
        rollouts = [
            self._rollout(gate, Identity(self._seed, step, index, sibling), task)
            for index, task in enumerate(tasks)
            for sibling in range(group_size)
        ]
        trajectories = await asyncio.gather(*rollouts)
        self._gateway.check()
        return trajectories

    async def _rollout(self, gate: asyncio.Semaphore, who: Identity, task: Any) -> Trajectory:
        rollout_id = f"{who.name}-{uuid.uuid4().hex[:8]}"
        async with gate:
            await self._client.create(rollout_id, self._describe(task), train=True, timeout_s=self._timeout)
            await self._client.set_state(rollout_id, RolloutState.RUNNING)
            agent_client = RolloutClient(
                identity=who,
                base_url=self._client.agent_url(rollout_id, train=True),
                api_key=self._gateway.key,
                http_client=self._agents_http,
                max_retries=0,
            )
            result: AgentResult | None = None
            error: str | None = None
            try:
                result = await asyncio.wait_for(self._agent(task, agent_client), self._timeout)
                await self._client.post_reward(rollout_id, result.reward)
            except TimeoutError:
                error = f"no result after {self._timeout:.0f} s"
            except Exception as failure:  # an agent is foreign code: whatever it raises fails this rollout only
                self._gateway.check()
                error = f"{type(failure).__name__}: {failure}"
            await self._client.set_state(rollout_id, RolloutState.FAILED if error else RolloutState.SUCCEEDED)
            trajectory = read_trajectory(await self._client.events(rollout_id), rollout_id, who.task, result, error)
            await self._client.delete(rollout_id)
            return trajectory


def read_trajectory(
    events: Sequence[dict[str, Any]], rollout_id: str, task: int, result: AgentResult | None, error: str | None
) -> Trajectory:
    """A trajectory from a rollout's raw events: calls that succeeded become turns, the last reward event counts.

    Raises:
        HomegroundError: a call's event lacks the sampled ids, so it cannot be trained.
    """
    turns: list[Turn] = []
    reward: float | None = None
    for event in events:
        data = event["data"]
        if event["event_type"] == "reward":
            reward = float(data["value"])
        elif event["event_type"] == "model_request" and data["status"] == "ok":
            turns += _turns(data["response"], rollout_id)
    return Trajectory(
        rollout_id,
        task,
        turns,
        None if error else reward,
        parts=result.parts if result else {},
        outcome=result.outcome if result else None,
        error=error,
    )


def _turns(response: dict[str, Any], rollout_id: str) -> list[Turn]:
    """A turn for each answer of a call."""
    turns: list[Turn] = []
    for choice in response["choices"]:
        if "prompt_token_ids" not in response or "token_ids" not in choice or not choice.get("logprobs"):
            raise HomegroundError(
                "a model call was recorded without its token ids or log-probabilities",
                where=f"rollout {rollout_id}",
                hint="the gateway must call Homeground's model server, in train mode",
            )
        turns.append(
            Turn(
                response["prompt_token_ids"],
                choice["token_ids"],
                [entry["logprob"] for entry in choice["logprobs"]["content"]],
                choice["finish_reason"],
                response["weights_version"],
            )
        )
    return turns


def run_agents(
    agent: Agent,
    tasks: Sequence[Any],
    server: ModelServer,
    *,
    concurrency: int,
    on_done: Callable[[], None] | None = None,
) -> list[AgentResult]:
    """Run an agent once on each task against a model server, without a gateway: how evaluation measures.

    Raises:
        whatever the agent raises: an evaluation with holes is none.
    """

    async def all_of_them() -> list[AgentResult]:
        gate = asyncio.Semaphore(concurrency)
        async with openai.DefaultAsyncHttpxClient(timeout=600) as http:
            client = openai.AsyncOpenAI(
                base_url=f"{server.root}/v1", api_key=server.secret, http_client=http, max_retries=0
            )

            async def one(task: Any) -> AgentResult:
                async with gate:
                    result = await agent(task, client)
                if on_done is not None:
                    on_done()
                return result

            return list(await asyncio.gather(*(one(task) for task in tasks)))

    release_workers()
    return asyncio.run(all_of_them())
