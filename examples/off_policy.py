"""GRPO on more than fresh rollouts: an expert's traces (LUFFY), and the policy's own past successes (ExGRPO).

LUFFY (Yan et al. 2025, arXiv 2504.14945): with on-policy rollouts ``o_i`` and off-policy traces ``tau_j`` of one task,
advantages are taken over both, and a step maximises ::

    sum_j sum_t f(r_jt) A_j  +  sum_i sum_t CLIP(r_it, A_i, eps),        r_jt = pi(tau_jt) / pi_author(tau_jt)

with the policy shaping ``f(x) = x / (x + gamma)`` and no clip on the first sum: its gradient weighs a token by
``gamma r / (r + gamma)^2``, so that likely tokens, which would dominate plain importance sampling, are weighed down,
and unlikely ones are learned. As in the paper the expert's probabilities, seldom known, are taken to be 1.

ExGRPO (Zhan et al. 2025, arXiv 2510.02245): the same sum with a past success in the expert's place, and its
probabilities of when it was sampled. Successes are kept by task, with the share of the task's last group that
succeeded, ``Acc``. A share of a step's tasks are drawn from there: first a bucket of equal ``Acc``, with weights
``N(Acc; mean 0.5, deviation 1)``, then one of its tasks. Of a task's successes the one with the lowest entropy under
the policy as it is now joins its group. A task that succeeds every time leaves. Replay starts when the mean ``Acc`` of
a step has reached a threshold once: before that, success is luck.

What differs from the papers: traces join the G sampled rollouts, where the papers sample fewer beside them; buckets are
eighths for groups of any size; the entropy of a rollout is the mean of ``-log p`` of its sampled tokens; a task that
left comes back when it fails again.

Run it: python examples/off_policy.py
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from homeground import GrpoConfig, Policy, train_grpo
from homeground.policy import TokenForest, chat
from homeground.rollouts import DirectSource, Sampler, Source, Trajectory, TrajectoryGroup, Turn
from homeground.training import OBJECTIVES, LossTerms, LossValue, TaskStream

KEPT = 4
"""Successes of a task that are kept, the newest."""
BUCKETS = 8
"""The groups of the ExGRPO paper are of 8 rollouts."""


def shaped_ratio(logprobs: Tensor, author: Tensor, gamma: float) -> Tensor:
    """``f(r) = r / (r + gamma)`` of the ratio ``r = pi / pi_author``, (M,), as a sigmoid, which no ratio overflows."""
    return torch.sigmoid(logprobs - author - math.log(gamma))


def shaping(gamma: float = 0.1, objective: str = "grpo"):
    """A built-in objective whose off-policy terms are weighed by policy shaping."""
    own_loss, normaliser = OBJECTIVES[objective]

    def loss(logprobs: Tensor, terms: LossTerms) -> LossValue:
        own, others = terms.where(~terms.off_policy), terms.where(terms.off_policy)
        value = own_loss(logprobs[~terms.off_policy], own)
        shaped = shaped_ratio(logprobs[terms.off_policy], others.sampled, gamma)
        return replace(value, loss=value.loss - (others.weight * others.advantage * shaped).sum())

    return loss, normaliser


@dataclass(frozen=True)
class Trace:
    """How an expert did a task.

    Attributes:
        messages: ends with an assistant's; what assistants wrote is learned.
        reward: what the task's own reward says of it.
        tools: that were offered.
    """

    messages: Sequence[chat.Message]
    reward: float = 1.0
    tools: chat.Tools = ()


def read_traces(file: Path) -> dict[str, list[Trace]]:
    """Traces by their task, from JSON lines ``{"task": ID, "messages": [...], "reward": 1.0, "tools": [...]}``."""
    traces: dict[str, list[Trace]] = defaultdict(list)
    for row in map(json.loads, file.read_text().splitlines()):
        traces[row["task"]].append(Trace(row["messages"], row.get("reward", 1.0), row.get("tools", ())))
    return traces


def rollout_of(tokenizer, trace: Trace, name: str, task: int) -> Trajectory:
    """A trace as a rollout in the policy's own tokens, with the turns that would have been sampled."""
    rendered = chat.render(tokenizer, trace.messages, tools=trace.tools)
    trained = rendered.trained
    turns: list[Turn] = []
    begin = 0
    for place, token in enumerate(trained):
        if place + 1 == len(trained) or trained[place + 1] != token + 1:
            written = rendered.ids[trained[begin] : token + 1]
            turns.append(Turn(rendered.ids[: trained[begin]], written, [0.0] * len(written), "stop", 0))
            begin = place + 1
    return Trajectory(name, task, turns, trace.reward, origin="expert")


class WithTraces:
    """A source whose groups an expert's traces join, at most ``per_group`` each."""

    def __init__(self, source: Source, tokenizer, traces: Callable[[Any], Sequence[Trace]], per_group: int = 1) -> None:
        self.max_tokens = source.max_tokens
        self.publish = source.publish
        self._source, self._tokenizer, self._traces, self._per_group = source, tokenizer, traces, per_group

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`homeground.rollouts.Source`."""
        return self._source.collect(tasks, group_size, step) + [
            rollout_of(self._tokenizer, trace, f"expert-{step}-{place}-{number}", place)
            for place, task in enumerate(tasks)
            for number, trace in enumerate(self._traces(task)[: self._per_group])
        ]


class ReplayBuffer(TaskStream):
    """Tasks of which a share is drawn by the policy's past successes at them.

    Args:
        tasks: that are drawn from.
        seed: of their order and of the replay.
        share: of a step's tasks that are replayed at most.
        start: share of successes in a step from which on it replays.
        success: smallest reward of a success.

    Attributes:
        successes: by task; ``replayed`` are the tasks with which the last draw began for their sake.
    """

    def __init__(self, tasks, seed: int = 0, *, share: float = 0.5, start: float = 0.35, success: float = 1.0) -> None:
        super().__init__(tasks, seed)
        self._share, self._start, self._success = share, start, success
        self._begun, self._draws = False, 0
        self._last: list[float] = []
        self._accuracy: dict[int, float] = {}
        self.successes: dict[int, list[Trajectory]] = {}
        self.replayed: list[int] = []

    def draw(self, count: int) -> list[int]:
        """The next tasks, those to replay first."""
        self._begun |= bool(self._last) and sum(self._last) / len(self._last) >= self._start
        self._last = []
        self.replayed = self._propose(round(self._share * count)) if self._begun else []
        self._draws += 1
        return [*self.replayed, *super().draw(count - len(self.replayed))]

    def _propose(self, wanted: int) -> list[int]:
        buckets: dict[int, list[int]] = defaultdict(list)
        for task in self.successes:
            buckets[round(BUCKETS * self._accuracy[task])].append(task)
        rng = random.Random(f"{self._seed} replay {self._draws}")
        drawn: list[int] = []
        while buckets and len(drawn) < wanted:
            weights = [math.exp(-((bucket / BUCKETS - 0.5) ** 2) / 2) for bucket in buckets]
            (bucket,) = rng.choices(list(buckets), weights)
            drawn.append(buckets[bucket].pop(rng.randrange(len(buckets[bucket]))))
            if not buckets[bucket]:
                del buckets[bucket]
        return drawn

    def saw(self, group: TrajectoryGroup) -> None:
        """Keep the successes of a group."""
        super().saw(group)
        own = [t for t in group.trainable if not t.off_policy]
        if not own:
            return
        won = [replace(t, outcome=None) for t in own if t.reward >= self._success]
        self._accuracy[group.index] = len(won) / len(own)
        self._last.append(len(won) / len(own))
        if len(won) == len(own):
            self.successes.pop(group.index, None)
        elif won:
            self.successes[group.index] = [*self.successes.get(group.index, []), *won][-KEPT:]

    def describe(self) -> dict[str, int]:
        """Counts for the log: ``tasks_replayable`` have a success that can be replayed."""
        return super().describe() | {"tasks_replayable": len(self.successes)}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        kept = {task: [asdict(t) for t in successes] for task, successes in self.successes.items()}
        replay = {"begun": self._begun, "draws": self._draws, "last": list(self._last)}
        return super().state() | replay | {"accuracy": dict(self._accuracy), "kept": kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().restore(state)
        self._begun, self._draws, self._last = state["begun"], state["draws"], list(state["last"])
        self._accuracy = dict(state["accuracy"])
        self.successes = {
            task: [Trajectory(**t | {"turns": [Turn(**turn) for turn in t["turns"]]}) for t in kept]
            for task, kept in state["kept"].items()
        }


def entropies(policy: Policy, rollouts: Sequence[Trajectory], temperature: float = 1.0) -> list[float]:
    """Mean -log p of the sampled tokens of each rollout, under the policy as it is."""
    forest = TokenForest.build([path.tokens for t in rollouts for path in t.paths])
    policy.drop_out(False)
    try:
        with torch.no_grad():
            logprobs = policy.logprobs(forest, temperature).cpu()
    finally:
        policy.drop_out(True)
    return [-float(part.mean()) for part in logprobs.split([t.tokens for t in rollouts])]


class WithReplay:
    """A source whose groups the most certain past success of their task joins, where the buffer drew it for that.

    It asks the policy, so it cannot be used with ``asynchronous`` rollouts.
    """

    def __init__(self, source: Source, buffer: ReplayBuffer, policy: Policy, temperature: float = 1.0) -> None:
        self.max_tokens = source.max_tokens
        self.publish = source.publish
        self._source, self._buffer, self._policy, self._temperature = source, buffer, policy, temperature

    def collect(self, tasks: Sequence[Any], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`homeground.rollouts.Source`."""
        found = self._source.collect(tasks, group_size, step)
        for place, task in enumerate(self._buffer.replayed):
            kept = self._buffer.successes[task]
            certain = entropies(self._policy, kept, self._temperature)
            chosen = kept[certain.index(min(certain))]
            found.append(replace(chosen, task=place, origin="replayed"))
        return found


QUESTIONS = [f"What is {a} plus {b}? Answer with the number alone." for a, b in [(2, 3), (4, 4), (7, 1), (5, 9)]]
ANSWERS = dict(zip(QUESTIONS, ["5", "8", "8", "14"], strict=True))


def reward(question: str, answer: str) -> float:
    """1 for the right number alone, half of it for one among other words."""
    right = ANSWERS[question]
    return 1.0 if answer.strip() == right else 0.5 if right in answer.split() else 0.0


def expert(question: str) -> list[Trace]:
    """The right answer to one question; the others are for the policy to find."""
    if question != QUESTIONS[0]:
        return []
    return [Trace([{"role": "user", "content": question}, {"role": "assistant", "content": ANSWERS[question]}])]


def main(policy: Policy | None = None, folder: Path | None = None, steps: int = 20):
    """Train on four sums, with a trace for one of them and with replay."""
    policy = policy or Policy.load()
    buffer = ReplayBuffer(QUESTIONS, share=0.25, start=0.1, success=0.5)
    with Sampler(policy) as sampler:
        source = DirectSource(policy, sampler, reward, max_tokens=12)
        source = WithReplay(WithTraces(source, policy.tokenizer, expert), buffer, policy)
        config = GrpoConfig(steps=steps, objective=shaping())
        run = train_grpo(policy, buffer, source=source, config=config, folder=folder)
    print(run.adapter, run.history[-1]["reward_mean"])
    return run


if __name__ == "__main__":
    main()
