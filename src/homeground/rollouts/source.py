"""Where trajectories come from: one protocol, two sources.

`direct` runs in process: prompts with a Python reward, or an async agent function. `gateway` runs agents whose model
calls go through the Agent Lightning gateway (:mod:`homeground.rollouts.gateway_source`).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward, checked_reward, function_name
from homeground.base.threads import release_workers
from homeground.policy import chat
from homeground.policy.load import Policy
from homeground.rollouts.client import Identity, LocalClient
from homeground.rollouts.conversation import Conversations
from homeground.rollouts.engine import Engine
from homeground.rollouts.guarded import RolloutFailedError, checked_result, run_agent
from homeground.rollouts.sampling import SamplingParams
from homeground.rollouts.stopping import cut
from homeground.rollouts.trajectory import Failure, Trajectory, Turn

# The client is an `openai.AsyncOpenAI` or, in process, a `LocalClient`.
type Agent = Callable[[Any, Any], Awaitable[Reward]]
# Called with the prompt, the completion, and by name those other fields of the task that it has parameters for.
type Score = float | Reward
type RewardFunction = Callable[..., Score | Awaitable[Score]]
# A text, a list of messages, or a record whose "prompt" is one of these.
type Prompt = str | Sequence[chat.Message] | Mapping[str, Any]


class Source(Protocol):
    """Rolls tasks out in groups."""

    @property
    def max_tokens(self) -> int | None:
        """Longest response of a call, in tokens; None if there is no limit."""
        ...

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """``group_size`` rollouts of each task, failed ones included; ``Trajectory.task`` is the task's index here."""
        ...

    def publish(self) -> int:
        """Sample from the policy's adapter as it is now; returns the version of the weights."""
        ...


class DirectSource:
    """Rollouts in process: give a reward for single turns, or an agent.

    Args:
        policy: whose tokenizer renders the prompts.
        engine: samples it.
        reward: (prompt, completion, **fields of the task) -> a number or a `Reward`, may be async; tasks are then
            prompts. To sum several rewards, call them in a function of your own.
        agent: async function of (task, client); its calls are the trajectory, it returns a `Reward`.
        max_tokens: longest completion; of an agent's call, where the agent names none.
        temperature: of the rollouts.
        seed: with step, task, sibling and call it fixes every sample.
        stop: strings that end a completion; its text ends before them.
        timeout_s: an agent that takes longer has failed.
        concurrency: agents at once.

    Raises:
        HomegroundError: neither or both of reward and agent.
    """

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        reward: RewardFunction | None = None,
        *,
        agent: Agent | None = None,
        max_tokens: int = 64,
        temperature: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        timeout_s: float = 120.0,
        concurrency: int = 64,
    ) -> None:
        if (reward is None) == (agent is None):
            raise HomegroundError(
                "rollouts need either a reward or an agent",
                hint="reward=fn scores single completions; agent=async_fn holds the conversation and scores itself",
            )
        self._tokenizer = policy.tokenizer
        self._engine = engine
        self._reward = reward
        self._agent = agent
        self.max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self._stop = stop
        self._timeout = timeout_s
        self._concurrency = concurrency

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`Source`.

        Raises:
            HomegroundError: the reward function did not return a finite number.
            whatever the reward function raises.
        """
        release_workers()
        if self._agent is not None:
            return run_async(self._run_agents(self._agent, tasks, group_size, step))
        return self._sample(tasks, group_size, step)

    def publish(self) -> int:
        """Implement :class:`Source`."""
        return self._engine.publish()

    def _sample(self, tasks: Sequence[Prompt], group_size: int, step: int) -> list[Trajectory]:
        end = chat.end_token(self._tokenizer)
        pending = []
        for index, task in enumerate(tasks):
            text = chat.prompt_text(self._tokenizer, _messages(task))
            ids = chat.encode(self._tokenizer, text)
            for sibling in range(group_size):
                who = Identity(self._seed, step, index, sibling)
                params = SamplingParams(self._temperature, seed=who.call_seed(0))
                pending.append((who, task, self._engine.submit(ids, self.max_tokens, params, [end], self._stop)))
        turns: list[Turn] = []
        completions: list[str] = []
        scores: list[Score | Awaitable[Score]] = []
        for _, task, future in pending:
            done = future.result()
            completion = self._tokenizer.decode(done.ids, skip_special_tokens=True)
            assert isinstance(completion, str)
            turns.append(Turn(done.prompt_ids, done.ids, done.logprobs, done.finish_reason.value, done.weights_version))
            completions.append(cut(completion, self._stop))
            scores.append(self._score(task, completions[-1]))
        rewards = run_async(_settle(scores)) if any(map(inspect.isawaitable, scores)) else scores
        giver = f"the reward function '{function_name(self._reward)}'"
        found = [checked_reward(reward, giver, task) for (_, task, _), reward in zip(pending, rewards, strict=True)]
        return [
            Trajectory(who.name, who.task, [turn], reward.value, reward.parts, completion)
            for (who, _, _), turn, completion, reward in zip(pending, turns, completions, found, strict=True)
        ]

    def _score(self, task: Prompt, completion: str) -> Score | Awaitable[Score]:
        assert self._reward is not None
        if not isinstance(task, Mapping):
            return self._reward(task, completion)
        fields = {name: value for name, value in task.items() if name != "prompt"}
        return self._reward(task["prompt"], completion, **_accepted(self._reward, fields))

    async def _run_agents(self, agent: Agent, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        gate = asyncio.Semaphore(self._concurrency)
        conversations = Conversations(self._engine, self._tokenizer)

        async def one(who: Identity) -> Trajectory:
            client = LocalClient(conversations, who, temperature=self._temperature, max_tokens=self.max_tokens)
            result = Reward(None)
            failed: RolloutFailedError | None = None
            async with gate:
                try:
                    result = await run_agent(agent(tasks[who.task], client), self._timeout)
                    if result.value is None:
                        returned = type(result.outcome).__name__
                        raise RolloutFailedError(
                            Failure.NO_REWARD, f"the agent returned {returned}: return a Reward with a value"
                        )
                    result = checked_result(result, f"the agent '{function_name(agent)}'", tasks[who.task])
                except RolloutFailedError as error:
                    result, failed = replace(result, value=None, parts={}), error
            return Trajectory(
                who.name,
                who.task,
                client.turns,
                result.value,
                parts=result.parts,
                outcome=result.outcome,
                error=failed.words if failed else None,
                failure=failed.failure if failed else None,
            )

        everyone = [Identity(self._seed, step, index, s) for index in range(len(tasks)) for s in range(group_size)]
        return list(await asyncio.gather(*map(one, everyone)))


def run_async[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop runs already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def elsewhere() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=elsewhere, name="homeground-rollouts")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


async def _settle(scores: Sequence[Score | Awaitable[Score]]) -> list[Score]:
    async def settled(score: Score | Awaitable[Score]) -> Score:
        return await score if inspect.isawaitable(score) else score  # type: ignore[return-value]

    return list(await asyncio.gather(*map(settled, scores)))


def _messages(task: Prompt) -> list[chat.Message]:
    """The conversation that a task opens.

    Raises:
        HomegroundError: a record without a prompt, or a prompt of another kind.
    """
    prompt: Any = task
    if isinstance(task, Mapping):
        if "prompt" not in task:
            raise HomegroundError(
                "a task has no prompt", where=f"its fields are {', '.join(map(str, task))}", hint="name one 'prompt'"
            )
        prompt = task["prompt"]
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Sequence) and all(isinstance(m, Mapping) for m in prompt):
        return [dict(m) for m in prompt]
    raise HomegroundError(
        f"a prompt must be a text or a list of messages, not {type(prompt).__name__}",
        hint="give texts, message lists, or records with a field 'prompt'; anything else needs agent=",
    )


def _accepted(function: Callable[..., Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields that a function has parameters for."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    # The first two parameters are the prompt and the completion, whatever they are called.
    free = {name: value for name, value in fields.items() if name not in positional[:2]}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return free
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in free.items() if name in named}
