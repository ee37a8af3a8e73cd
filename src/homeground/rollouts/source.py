"""Where trajectories come from: one protocol, two sources.

`direct` samples prompts in process and calls a Python reward. `gateway` runs async agent functions whose model calls
go through the Agent Lightning gateway; their trajectories are read back from its raw events.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import httpx
import openai

from homeground.base.errors import HomegroundError
from homeground.base.threads import release_workers
from homeground.policy import chat
from homeground.policy.load import Policy
from homeground.rollouts.gateway import Gateway, GatewayClient, RolloutState
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.sampling import SamplingParams, uniform
from homeground.rollouts.server import ModelServer
from homeground.rollouts.trajectory import AgentResult, Trajectory, Turn

type Agent = Callable[[Any, openai.AsyncOpenAI], Awaitable[AgentResult]]
type RewardFunction = Callable[[str, str], float]


class Source(Protocol):
    """Rolls tasks out in groups."""

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """``group_size`` rollouts of each task, failed ones included; ``Trajectory.task`` is the task's index here."""
        ...

    def published(self) -> None:
        """Called after the sampler has taken over new weights."""
        ...


class DirectSource:
    """Single-turn rollouts in process.

    Args:
        policy: whose tokenizer renders the prompts.
        sampler: its sampler.
        reward: (prompt, completion) -> reward; tasks are prompts.
        max_tokens: longest completion.
        temperature: of the rollouts.
        seed: with step, task and sibling it fixes every sample.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        reward: RewardFunction,
        *,
        max_tokens: int = 64,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._tokenizer = policy.tokenizer
        self._sampler = sampler
        self._reward = reward
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed

    def collect(self, tasks: Sequence[str], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`Source`."""
        release_workers()
        end = chat.end_token(self._tokenizer)
        pending = []
        for index, prompt in enumerate(tasks):
            text = chat.prompt_text(self._tokenizer, [{"role": "user", "content": prompt}])
            ids = chat.encode(self._tokenizer, text)
            for sibling in range(group_size):
                seed = int(uniform(self._seed, (step * len(tasks) + index) * group_size + sibling) * 2**53)
                params = SamplingParams(self._temperature, seed=seed)
                future = self._sampler.submit(ids, self._max_tokens, params, stop_ids=[end])
                pending.append((index, sibling, prompt, future))
        trajectories: list[Trajectory] = []
        for index, sibling, prompt, future in pending:
            done = future.result()
            completion = self._tokenizer.decode(done.ids, skip_special_tokens=True)
            assert isinstance(completion, str)
            turn = Turn(done.prompt_ids, done.ids, done.logprobs, done.finish_reason.value, done.weights_version)
            reward = float(self._reward(prompt, completion))
            trajectories.append(Trajectory(f"{step}-{index}-{sibling}", index, [turn], reward, outcome=completion))
        return trajectories

    def published(self) -> None:
        """Nothing to tell anybody."""


class GatewaySource:
    """Agents through Agent Lightning; use it as a context manager.

    Args:
        gateway: a running one.
        server: our model server, entered.
        agent: async function of (task, client); its calls are the trajectory, its result carries the reward.
        timeout_s: a rollout that takes longer has failed.
        concurrency: rollouts at once.
        describe: what of a task the gateway stores as the rollout's input (JSON).
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
    ) -> None:
        self._gateway = gateway
        self._server = server
        self._agent = agent
        self._timeout = timeout_s
        self._concurrency = concurrency
        self._describe = describe
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
            self._rollout(gate, f"{step}-{index}-{sibling}-{uuid.uuid4().hex[:8]}", index, task)
            for index, task in enumerate(tasks)
            for sibling in range(group_size)
        ]
        trajectories = await asyncio.gather(*rollouts)
        self._gateway.check()
        return trajectories

    async def _rollout(self, gate: asyncio.Semaphore, rollout_id: str, index: int, task: Any) -> Trajectory:
        async with gate:
            await self._client.create(rollout_id, self._describe(task), train=True, timeout_s=self._timeout)
            await self._client.set_state(rollout_id, RolloutState.RUNNING)
            agent_client = openai.AsyncOpenAI(
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
            trajectory = read_trajectory(await self._client.events(rollout_id), rollout_id, index, result, error)
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
            turns.append(_turn(data["response"], rollout_id))
    return Trajectory(
        rollout_id,
        task,
        turns,
        None if error else reward,
        parts=result.parts if result else {},
        outcome=result.outcome if result else None,
        error=error,
    )


def _turn(response: dict[str, Any], rollout_id: str) -> Turn:
    choice = response["choices"][0]
    if "prompt_token_ids" not in response or "token_ids" not in choice or not choice.get("logprobs"):
        raise HomegroundError(
            "a model call was recorded without its token ids or log-probabilities",
            where=f"rollout {rollout_id}",
            hint="the gateway must call Homeground's model server, in train mode",
        )
    return Turn(
        response["prompt_token_ids"],
        choice["token_ids"],
        [entry["logprob"] for entry in choice["logprobs"]["content"]],
        choice["finish_reason"],
        response["weights_version"],
    )


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
