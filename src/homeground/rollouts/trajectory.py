"""What an agent did, as records of token ids: the one currency between rollouts and training.

Trained ids are the ids that were sampled. A turn whose prompt extends an earlier prompt and response token by token
continues that path; any other turn starts a new one. Agents that call in parallel and sub-agents so become paths of
their own in one trajectory, all with its advantage; metrics count how each began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from homeground.policy.forest import TokenPath

NO_SIGNAL = 1e-6
"""Rewards of a group whose standard deviation is not larger are equal."""
SAMPLED = "sampled"


class Failure(StrEnum):
    """How a rollout can fail."""

    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    NO_REWARD = "no_reward"
    BAD_REWARD = "bad_reward"
    NO_CALLS = "no_calls"


class PathStart(StrEnum):
    """Why a path of a trajectory began."""

    FIRST = "first"
    FORK = "fork"
    """It asks again, or goes on from, what another path went on from: parallel calls, several answers, branches."""
    REWRITTEN = "rewritten"
    """An earlier answer came back with other ids: the agent edited it, or it was cut."""
    SEPARATE = "separate"
    """It continues no earlier prompt: a sub-agent, or a history that was shortened."""


@dataclass(frozen=True)
class Turn:
    """One call of the model.

    Attributes:
        prompt_ids: everything that the model read.
        ids: what it sampled, end token included when it was sampled.
        logprobs: the sampler's log-probability of each sampled id.
        finish_reason: "stop" or "length".
        weights_version: which published weights sampled it.
    """

    prompt_ids: Sequence[int]
    ids: Sequence[int]
    logprobs: Sequence[float]
    finish_reason: str
    weights_version: int


@dataclass(frozen=True)
class Trajectory:
    """One rollout of one task.

    Attributes:
        rollout_id: unique in its run.
        task: index of the task in its step; rollouts of one task form a group.
        turns: in the order of the calls.
        reward: None when the rollout failed; it is then left out of its group.
        parts, outcome: as the agent returned them.
        error: why it failed.
        failure: how it failed.
        refused_calls, retried_calls: of its model calls those that got an error, and how often the gateway asked
            again for one.
        attempt: how many times its step had been rolled out, and was lost, before.
        origin: who wrote it. With any other name than "sampled" it is off-policy: the policy did not just sample it,
            and the log-probabilities of its turns are those of its author, 0 where they are unknown.
    """

    rollout_id: str
    task: int
    turns: Sequence[Turn]
    reward: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    outcome: Any = None
    error: str | None = None
    failure: Failure | None = None
    refused_calls: int = 0
    retried_calls: int = 0
    attempt: int = 0
    origin: str = SAMPLED

    @property
    def off_policy(self) -> bool:
        """True when the policy did not write it."""
        return self.origin != SAMPLED

    @cached_property
    def paths(self) -> list[SampledPath]:
        """Its turns as paths, see :func:`sampled_paths`."""
        return sampled_paths(self.turns)

    @property
    def tokens(self) -> int:
        """Sampled tokens of all turns."""
        return sum(len(turn.ids) for turn in self.turns)

    @property
    def longest(self) -> int:
        """Sampled tokens of its longest turn."""
        return max((len(turn.ids) for turn in self.turns), default=0)

    @property
    def truncated(self) -> bool:
        """True when a turn was cut at the limit of tokens."""
        return any(turn.finish_reason == "length" for turn in self.turns)

    @property
    def shortcoming(self) -> Failure | None:
        """Why it cannot be trained; None when it can be."""
        if self.reward is None:
            return self.failure or Failure.NO_REWARD
        return None if self.turns else Failure.NO_CALLS


@dataclass(frozen=True)
class TrajectoryGroup:
    """The G rollouts of one task, failed ones included.

    Attributes:
        index: place of the task in the list of tasks.
        task: what the agent got.
        trajectories: the rollouts, G of them.
    """

    index: int
    task: Any
    trajectories: Sequence[Trajectory]

    @cached_property
    def present_G(self) -> Tensor:  # noqa: N802
        """Mask of the rollouts that can be trained, shape (G,), bool."""
        return torch.tensor([t.shortcoming is None for t in self.trajectories], dtype=torch.bool)

    @cached_property
    def rewards_G(self) -> Tensor:  # noqa: N802
        """Their rewards, shape (G,), float64; 0 where a rollout cannot be trained."""
        rewards = torch.tensor([t.reward or 0.0 for t in self.trajectories], dtype=torch.float64)
        return torch.where(self.present_G, rewards, 0.0)

    @property
    def trainable(self) -> list[Trajectory]:
        """The rollouts that can be trained."""
        return [t for t in self.trajectories if t.shortcoming is None]

    @property
    def has_signal(self) -> bool:
        """True when the rollouts that can be trained differ in their rewards."""
        rewards = self.rewards_G[self.present_G]
        return len(rewards) > 1 and float(rewards.std(correction=0)) > NO_SIGNAL


@dataclass(frozen=True)
class SampledPath:
    """A path of a trajectory; ``logprobs`` are the sampler's, aligned with ``tokens.trained``."""

    tokens: TokenPath
    logprobs: Sequence[float]
    start: PathStart = PathStart.FIRST


@dataclass
class _Growing:
    start: PathStart
    ids: list[int] = field(default_factory=list[int])
    trained: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])


def sampled_paths(turns: Sequence[Turn]) -> list[SampledPath]:
    """Turns as paths: each continues the longest path that its prompt extends exactly, else it starts its own.

    ``[1 2 | 3]`` then ``[1 2 3 4 | 5]`` is one path; a third turn ``[1 2 3 6 | 7]`` is a fork of it.
    """
    paths: list[_Growing] = []
    for number, turn in enumerate(turns):
        prompt = list(turn.prompt_ids)
        open_ = [path for path in paths if prompt[: len(path.ids)] == path.ids]
        if open_:
            path = max(open_, key=lambda found: len(found.ids))
        else:
            path = _Growing(_start(prompt, turns[:number]))
            paths.append(path)
        path.ids = prompt + list(turn.ids)
        path.trained += range(len(prompt), len(path.ids))
        path.logprobs += turn.logprobs
    return [SampledPath(TokenPath(path.ids, path.trained), path.logprobs, path.start) for path in paths]


def _start(prompt: list[int], earlier: Sequence[Turn]) -> PathStart:
    if not earlier:
        return PathStart.FIRST
    asked = [list(turn.prompt_ids) for turn in earlier]
    said = [list(turn.ids) for turn in earlier]
    if any(prompt == ids or prompt[: len(ids + more)] == ids + more for ids, more in zip(asked, said, strict=True)):
        return PathStart.FORK
    rewritten = any(prompt[: len(ids)] == ids for ids in asked)
    return PathStart.REWRITTEN if rewritten else PathStart.SEPARATE
