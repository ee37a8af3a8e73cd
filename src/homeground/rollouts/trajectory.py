"""What an agent did, as records of token ids: the one currency between rollouts and training.

Trained ids are the ids that were sampled. A turn whose prompt extends the previous prompt and response token by
token continues the same path; any other turn starts a new one, and the count of those is a metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeground.policy.forest import TokenPath


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
class AgentResult:
    """What an agent function returns about one rollout.

    Attributes:
        reward: what is maximised, any unit, usually in [0, 1].
        parts: the reward's named terms, for the log.
        outcome: whatever the caller wants back (messages, hits, an answer).
    """

    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)
    outcome: Any = None


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
    """

    rollout_id: str
    task: int
    turns: Sequence[Turn]
    reward: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    outcome: Any = None
    error: str | None = None


@dataclass(frozen=True)
class SampledPath:
    """A path of a trajectory; ``logprobs`` are the sampler's, aligned with ``tokens.trained``."""

    tokens: TokenPath
    logprobs: Sequence[float]


def sampled_paths(turns: Sequence[Turn]) -> list[SampledPath]:
    """Merge turns whose prompt extends the turn before exactly; others start a path of their own."""
    paths: list[SampledPath] = []
    ids: list[int] = []
    trained: list[int] = []
    logprobs: list[float] = []
    for turn in turns:
        prompt = list(turn.prompt_ids)
        if ids and prompt[: len(ids)] != ids:
            paths.append(SampledPath(TokenPath(ids, trained), logprobs))
            trained, logprobs = [], []
        ids = prompt + list(turn.ids)
        trained = [*trained, *range(len(prompt), len(ids))]
        logprobs = [*logprobs, *turn.logprobs]
    if ids:
        paths.append(SampledPath(TokenPath(ids, trained), logprobs))
    return paths
