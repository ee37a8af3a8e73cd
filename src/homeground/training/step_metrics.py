"""Metrics of a step of GRPO, as ``history`` and ``metrics.jsonl`` hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict, cast

import torch

from homeground.rollouts.lifecycle import counters
from homeground.rollouts.trajectory import NO_SIGNAL, TrajectoryGroup


class RolloutMetrics(TypedDict):
    """Metrics of a step's rollouts; off-policy ones count in ``rollouts_off_policy`` and in groups' signal alone.

    Besides, there are ``reward/NAME`` (mean of a part of the reward), ``failed/NAME`` and ``paths/NAME`` (counts of
    :func:`homeground.rollouts.lifecycle.counters`). ``length_correlation`` is Pearson's correlation of reward and
    sampled tokens within groups, absent where one of them does not vary. Lengths are in tokens.
    """

    reward_mean: float
    reward_std: float
    groups_with_signal: float
    rollouts: int
    rollouts_off_policy: NotRequired[int]
    failed: int
    response_tokens: float
    prompt_tokens: float
    truncated: float
    new_paths: int
    refused_calls: int
    retried_calls: int
    lost_attempts: int
    length_correlation: NotRequired[float]


class StepMetrics(RolloutMetrics):
    """Metrics of a step; log-probabilities, entropy and KL in nats a token, times in seconds, memory in MB (10^6)."""

    stage: str
    step: int
    loss: float
    kl: NotRequired[float]
    clip_share: float
    entropy: float
    logprob_gap: float
    gap_alarm: float
    grad_norm: float
    weight_change: float
    learning_rate: float
    memory_mb: float
    forest_tokens: float
    path_tokens: float
    groups_passed_over: int
    staleness: int
    tasks_always: int
    tasks_never: int
    tasks_skipped: int
    seconds_rollout: float
    seconds_update: float
    tokens_per_s: float
    eta_s: NotRequired[float]
    warnings: NotRequired[list[str]]


def describe(groups: Sequence[TrajectoryGroup]) -> RolloutMetrics:
    """Describe the rollouts of a step."""
    trajectories = [t for group in groups for t in group.trajectories if not t.off_policy]
    turns = [turn for t in trajectories for turn in t.turns]
    alive = [t for t in trajectories if t.shortcoming is None]
    rewards = torch.tensor([t.reward for t in alive], dtype=torch.float64)
    parts = {
        f"reward/{name}": [t.parts[name] for t in trajectories if name in t.parts]
        for name in sorted({name for t in trajectories for name in t.parts})
    }
    described = {
        "reward_mean": float(rewards.mean()) if alive else 0.0,
        "reward_std": float(rewards.std(correction=0)) if alive else 0.0,
        "groups_with_signal": sum(group.has_signal for group in groups) / max(1, len(groups)),
        "rollouts": len(trajectories),
        "failed": len(trajectories) - len(alive),
        "response_tokens": sum(len(turn.ids) for turn in turns) / max(1, len(trajectories)),
        "prompt_tokens": sum(len(turn.prompt_ids) for turn in turns) / max(1, len(turns)),
        "truncated": sum(turn.finish_reason == "length" for turn in turns) / max(1, len(turns)),
        "new_paths": sum(len(t.paths) - 1 for t in trajectories if t.turns),
        **counters(trajectories),
        **{name: sum(values) / len(values) for name, values in parts.items()},
    }
    if off_policy := sum(t.off_policy for group in groups for t in group.trajectories):
        described["rollouts_off_policy"] = off_policy
    if (correlation := _length_correlation(groups)) is not None:
        described["length_correlation"] = correlation
    return cast("RolloutMetrics", described)


def reward_gain(history: Sequence[StepMetrics]) -> str:
    """Mean reward of the first and the last quarter of some steps, in words that go on a sentence."""
    rewards = [step["reward_mean"] for step in history]
    if not rewards:
        return ""
    quarter = max(1, len(rewards) // 4)
    first, last = (sum(some) / quarter for some in (rewards[:quarter], rewards[-quarter:]))
    return f", rollout reward {first:.3f} -> {last:.3f}"


def _length_correlation(groups: Sequence[TrajectoryGroup]) -> float | None:
    own = [[t for t in group.trainable if not t.off_policy] for group in groups]
    tables = [torch.tensor([[t.reward, t.tokens] for t in group], dtype=torch.float64) for group in own if group]
    if not tables:
        return None
    rewards, lengths = torch.cat([table - table.mean(0) for table in tables]).T
    scale = float(rewards.norm() * lengths.norm())
    return float(rewards @ lengths) / scale if scale > NO_SIGNAL else None
