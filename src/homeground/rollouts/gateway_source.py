"""Rollouts through the Agent Lightning gateway: agents whose model calls it records and forwards to us.

Each rollout is created in the gateway, run by a runner, graded, read back as raw events, and deleted there. What it
lives through is :mod:`homeground.rollouts.lifecycle`'s table.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import openai

from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward, function_name
from homeground.base.threads import release_workers
from homeground.rollouts.child import ServiceLostError
from homeground.rollouts.client import Identity
from homeground.rollouts.events import read_trajectory, reward_of
from homeground.rollouts.gateway import Gateway, GatewayClient
from homeground.rollouts.guarded import RolloutFailedError, checked_result, words
from homeground.rollouts.inline import InlineRunner, Runner
from homeground.rollouts.lifecycle import Attempt, State
from homeground.rollouts.server import ModelServer
from homeground.rollouts.source import Agent, run_async
from homeground.rollouts.trajectory import Failure, Trajectory

MOST_RESTARTS = 3
"""How often one step is rolled out again because the gateway or the controller died."""
WATCH_S = 0.2
REWARD_POLL_S = 0.2

# Called with the task and the agent's outcome.
type Grader = Callable[[Any, Any], Any]


class GatewaySource:
    """Agents through Agent Lightning; use it as a context manager.

    A gateway that dies is started again, and so is the controller; the step's rollouts are then all run again. A model
    server that dies is started again at its address; the gateway asks again for the calls that were in flight.

    Args:
        gateway: a running one.
        server: our model server, entered.
        agent: async function of (task, client), or a runner of agents; its calls are the trajectory.
        grade: (task, outcome) -> reward or :class:`Reward`, may be async; called where the agent's result has
            no reward. The outcome of a program is what it printed.
        timeout_s: a rollout whose agent takes longer has failed.
        reward_s: how long to wait for a reward that is posted after the agent has ended.
        failure_reward: reward of rollouts that timed out or crashed; None leaves them out of their group.
        concurrency: of an agent function: rollouts at once.
        describe: what of a task the gateway stores as the rollout's input (JSON); programs get it as their task. Not
            given, all of a task that JSON can hold, else its text.
        max_tokens: the longest response that the agent asks for, where that is known.
        seed: with step, task, sibling and call it fixes every sample.

    Attributes:
        restarts: of the gateway or the controller, so far.
        revivals: of the model server.
    """

    def __init__(
        self,
        gateway: Gateway,
        server: ModelServer,
        agent: Agent | Runner,
        *,
        grade: Grader | None = None,
        timeout_s: float = 120.0,
        reward_s: float = 0.0,
        failure_reward: float | None = None,
        concurrency: int = 64,
        describe: Callable[[Any], Any] | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        self.max_tokens = max_tokens
        self._gateway = gateway
        self._server = server
        self._agents: Runner = agent if isinstance(agent, Runner) else InlineRunner(agent, concurrency)
        self._grade = grade
        self._timeout = timeout_s
        self._reward_s = reward_s
        self._failure_reward = failure_reward
        self._describe = describe or _plain
        self._seed = seed
        self._version = 0
        self.restarts = 0
        self.revivals = 0
        self._loop = asyncio.Runner()
        self._grading = asyncio.Lock()

    def __enter__(self) -> GatewaySource:
        limits = httpx.Limits(max_connections=2 * self._agents.at_once)
        self._http = httpx.AsyncClient(timeout=max(30.0, self._timeout), limits=limits)
        self._client = GatewayClient(self._gateway, self._http)
        try:
            self._register()
            self._agents.start(self._gateway)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._agents.stop()
        # The gateway may be gone, and its registrations with it.
        with contextlib.suppress(HomegroundError):
            self._loop.run(self._client.forget_models())
        with contextlib.suppress(RuntimeError):
            self._loop.run(self._http.aclose())
        self._loop.close()

    def publish(self) -> int:
        """Register the model server with its new version, so that events carry it."""
        self._version = self._server.engine.publish()
        # A gateway that has died since the last step is found, and started again, by the next one.
        with contextlib.suppress(ServiceLostError):
            self._register()
        return self._version

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`Source`."""
        return self._again_if_lost(tasks, group_size, step, train=True)

    def evaluate(
        self, tasks: Sequence[Any], step: int = 0, on_done: Callable[[], None] | None = None
    ) -> list[Trajectory]:
        """One rollout of each task with ``is_train=false``: at the gateway's evaluation temperature, not trained on.

        Args:
            tasks: any that the agent takes.
            step: tells these rollouts from others of the same tasks.
            on_done: called when a rollout has ended; again for the same one where a gateway died meanwhile.
        """
        return self._again_if_lost(tasks, 1, step, train=False, on_done=on_done)

    def _again_if_lost(
        self,
        tasks: Sequence[Any],
        group_size: int,
        step: int,
        *,
        train: bool,
        on_done: Callable[[], None] | None = None,
    ) -> list[Trajectory]:
        release_workers()
        for lost in range(MOST_RESTARTS + 1):
            try:
                work = self._collect(tasks, group_size, step, train=train, lost=lost, on_done=on_done)
                return self._loop.run(work)
            except ServiceLostError as error:
                if lost == MOST_RESTARTS:
                    raise
                warnings.warn(f"{error.message}\nIt is started again, and so are this step's rollouts.", stacklevel=3)
                self._restart()
        raise AssertionError("the loop returns or raises")

    def _restart(self) -> None:
        self._agents.stop()
        self._gateway.restart()
        self._register()
        self._agents.start(self._gateway)
        self.restarts += 1

    def _register(self) -> None:
        async def once() -> None:
            # Not the loop of the rollouts: a trainer may publish while they run in another thread.
            async with httpx.AsyncClient(timeout=30) as http:
                client = GatewayClient(self._gateway, http)
                await client.register_model(self._server.model, self._server.endpoint, self._version)

        run_async(once())

    async def _collect(
        self,
        tasks: Sequence[Any],
        group_size: int,
        step: int,
        *,
        train: bool,
        lost: int,
        on_done: Callable[[], None] | None,
    ) -> list[Trajectory]:
        gate = asyncio.Semaphore(self._agents.at_once)
        mode = "" if train else "eval-"
        everyone = [Identity(self._seed, step, index, s) for index in range(len(tasks)) for s in range(group_size)]
        attempts = [
            Attempt(f"{mode}{who.name}-{uuid.uuid4().hex[:8]}", who, tasks[who.task], train) for who in everyone
        ]

        async def one(attempt: Attempt) -> Trajectory:
            async with gate:
                ended = await self._rollout(attempt, lost)
            if on_done is not None:
                on_done()
            return ended

        async with self._agents.rolling(self._client):
            rollouts = [asyncio.create_task(one(attempt)) for attempt in attempts]
            watch = asyncio.create_task(self._watch())
            everything = asyncio.gather(*rollouts)
            try:
                await _first_failure([watch, everything])
                return everything.result()
            finally:
                for task in [watch, *rollouts]:
                    task.cancel()
                await asyncio.gather(watch, everything, *rollouts, return_exceptions=True)
                for attempt in attempts:
                    if attempt.state not in (State.SUCCEEDED, State.FAILED):
                        attempt.move(State.LOST)

    async def _watch(self) -> None:
        """Raises when the gateway dies; keeps the model server up."""
        while True:
            self._gateway.check()
            if not self._server.alive:
                await asyncio.to_thread(self._server.revive)
                self.revivals += 1
            await asyncio.sleep(WATCH_S)

    async def _rollout(self, attempt: Attempt, lost: int) -> Trajectory:
        told = self._describe(attempt.task)
        name = attempt.rollout_id
        config = self._agents.config(name, told)
        await self._client.create(name, told, train=attempt.train, timeout_s=self._timeout, config=config)
        try:
            await self._agents.run(attempt, self._client, self._timeout)
            await self._reward(attempt)
            attempt.move(State.SUCCEEDED)
        except RolloutFailedError as failed:
            # An agent fails when its gateway dies; that is no failure of the agent's.
            self._gateway.check()
            attempt.fail(failed.failure, failed.words)
        events = await self._client.events(name)
        await self._client.delete(name)
        return read_trajectory(events, attempt, failure_reward=self._failure_reward, lost=lost)

    async def _reward(self, attempt: Attempt) -> None:
        """See that the reward is an event: the agent's, the grader's, or one that somebody posts.

        Raises:
            RolloutFailedError: there is none, or it is no number.
        """
        result, who = attempt.result or Reward(None), "the agent"
        if result.value is None and self._grade is not None:
            result, who = await self._graded(attempt.task, result.outcome), f"the grader {function_name(self._grade)}"
            attempt.result = result
        if result.value is not None:
            attempt.result = checked_result(result, who, attempt.task)
            assert attempt.result.value is not None
            await self._client.post_reward(attempt.rollout_id, attempt.result.value)
            return
        deadline = time.monotonic() + self._reward_s
        while True:
            posted = await self._client.events(attempt.rollout_id, "reward")
            if posted:
                reward_of(posted, attempt.task)
                return
            if time.monotonic() >= deadline:
                raise RolloutFailedError(
                    Failure.NO_REWARD,
                    "there is no reward: no function gives one (--reward), and within "
                    f"{self._reward_s:.0f} s of its end the agent posted no event 'reward' to AGL_EVENT_URL",
                )
            await asyncio.sleep(REWARD_POLL_S)

    async def _graded(self, task: Any, outcome: Any) -> Reward:
        assert self._grade is not None
        try:
            # A grader may run tests for seconds; meanwhile other rollouts go on. One at a time, as in plain Python.
            async with self._grading:
                graded = await asyncio.to_thread(self._grade, task, outcome)
            if inspect.isawaitable(graded):
                graded = await graded
        except Exception as error:  # a grader that cannot read one answer says nothing about the others
            ours = isinstance(error, HomegroundError)
            raise RolloutFailedError(
                Failure.BAD_REWARD, words(error) if ours else f"the grader raised {words(error)}"
            ) from error
        return graded if isinstance(graded, Reward) else Reward(graded, outcome=outcome)


def _plain(task: Any) -> Any:
    try:
        json.dumps(task)
    except (TypeError, ValueError):
        return str(task)
    return task


async def _first_failure(work: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for the first to end; raise what it raised."""
    done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    for ended in done:
        ended.result()


def run_agents(
    agent: Agent,
    tasks: Sequence[Any],
    server: ModelServer,
    *,
    concurrency: int,
    on_done: Callable[[], None] | None = None,
) -> list[Reward]:
    """Run an agent once on each task against a model server, without a gateway: how evaluation measures.

    Raises:
        whatever the agent raises: an evaluation with holes is none.
    """

    async def all_of_them() -> list[Reward]:
        gate = asyncio.Semaphore(concurrency)
        async with openai.DefaultAsyncHttpxClient(timeout=600) as http:
            client = openai.AsyncOpenAI(
                base_url=f"{server.root}/v1", api_key=server.secret, http_client=http, max_retries=0
            )

            async def one(task: Any) -> Reward:
                async with gate:
                    result = await agent(task, client)
                if on_done is not None:
                    on_done()
                return result

            return list(await asyncio.gather(*(one(task) for task in tasks)))

    release_workers()
    return asyncio.run(all_of_them())
