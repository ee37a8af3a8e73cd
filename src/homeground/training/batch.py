"""From trajectories to what an optimizer step needs: rewards by group, advantages, and rollouts with their paths."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from homeground.base.errors import HomegroundError
from homeground.rollouts.lifecycle import counters
from homeground.rollouts.trajectory import SampledPath, Trajectory, sampled_paths
from homeground.training.advantages import NO_SIGNAL, GroupRewards


@dataclass(frozen=True)
class Rollout:
    """A trajectory that can be trained.

    Attributes:
        task: index of its task in the step.
        paths: its turns, merged where one continues the other.
        reward: any unit.
        truncated: whether a turn was cut at the limit of tokens.
        longest: tokens of its longest turn.
        rollout_id: of the trajectory.
        parts: of the reward, by name.
        gamma: of the policy shaping, for a rollout that the policy did not just sample; 0 for its own.
    """

    task: int
    paths: list[SampledPath]
    reward: float
    truncated: bool
    longest: int
    rollout_id: str
    parts: Mapping[str, float]
    gamma: float = 0.0

    @property
    def tokens(self) -> int:
        """Sampled tokens of all turns."""
        return sum(len(p.tokens.trained) for p in self.paths)


def check_rewards(trajectories: Sequence[Trajectory]) -> None:
    """Every reward must be a number.

    Raises:
        HomegroundError: one is not finite.
    """
    for t in trajectories:
        if t.reward is not None and not math.isfinite(t.reward):
            raise HomegroundError(
                f"a rollout got the reward {t.reward}",
                where=f"rollout {t.rollout_id}",
                hint="a reward must be a finite number; raise an error in the agent to leave a rollout out",
            )


def usable_rollouts(trajectories: Sequence[Trajectory]) -> list[Rollout]:
    """The trajectories that have a reward and at least one call of the model.

    Raises:
        HomegroundError: a rollout comes twice.
    """
    seen: set[str] = set()
    rollouts: list[Rollout] = []
    for t in trajectories:
        if t.reward is None or not t.turns:
            continue
        if t.rollout_id in seen:
            raise HomegroundError("a rollout would be trained twice", where=f"rollout {t.rollout_id}")
        seen.add(t.rollout_id)
        truncated = any(turn.finish_reason == "length" for turn in t.turns)
        longest = max(len(turn.ids) for turn in t.turns)
        rollouts.append(Rollout(t.task, sampled_paths(t.turns), t.reward, truncated, longest, t.rollout_id, t.parts))
    return rollouts


def group_rewards(rollouts: Sequence[Rollout], rewards: Sequence[float]) -> tuple[GroupRewards, list[tuple[int, int]]]:
    """Rewards by group.

    Args:
        rollouts: in any order.
        rewards: of each of them, shaped or not.

    Returns:
        The groups, and each rollout's place in them (row, column). G is the largest group's size, at least 2; a smaller
        group has absent places.
    """
    rows: dict[int, int] = {}
    filled: dict[int, int] = defaultdict(int)
    places: list[tuple[int, int]] = []
    for rollout in rollouts:
        row = rows.setdefault(rollout.task, len(rows))
        places.append((row, filled[row]))
        filled[row] += 1
    names = tuple(sorted({name for rollout in rollouts for name in rollout.parts}))
    table = torch.zeros(len(rows), max(2, *filled.values()) if filled else 2)
    present = torch.zeros(table.shape, dtype=torch.bool)
    parts = torch.zeros(*table.shape, len(names))
    for (row, column), rollout, reward in zip(places, rollouts, rewards, strict=True):
        table[row, column] = reward
        present[row, column] = True
        parts[row, column] = torch.tensor([rollout.parts.get(name, 0.0) for name in names])
    return GroupRewards(table, present, parts, names), places


def groups_of(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Indices of rollouts, task by task."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, rollout in enumerate(rollouts):
        groups[rollout.task].append(index)
    return list(groups.values())


def has_signal(trajectories: Sequence[Trajectory]) -> bool:
    """Whether the rollouts of one task differ in their rewards."""
    rewards = [t.reward for t in trajectories if t.reward is not None and t.turns]
    return len(rewards) > 1 and statistics.pstdev(rewards) > NO_SIGNAL


def length_correlation(trajectories: Sequence[Trajectory]) -> float | None:
    """Pearson's correlation of reward and sampled tokens within groups; None where one of them does not vary."""
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for t in trajectories:
        assert t.reward is not None
        groups[t.task].append((t.reward, float(sum(len(turn.ids) for turn in t.turns))))
    table = [torch.tensor(group, dtype=torch.float64) for group in groups.values()]
    if not table:
        return None
    centred = torch.cat([group - group.mean(0) for group in table])
    rewards, lengths = centred.T
    scale = float(rewards.norm() * lengths.norm())
    return float(rewards @ lengths) / scale if scale > NO_SIGNAL else None


def describe(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """What happened in a step's rollouts, for the log."""
    turns = [turn for t in trajectories for turn in t.turns]
    alive = [t for t in trajectories if t.reward is not None and t.turns]
    rewards = torch.tensor([t.reward for t in alive], dtype=torch.float64)
    by_task: dict[int, list[Trajectory]] = defaultdict(list)
    for t in trajectories:
        by_task[t.task].append(t)
    described: dict[str, Any] = {
        "reward_mean": float(rewards.mean()) if alive else 0.0,
        "reward_std": float(rewards.std(correction=0)) if alive else 0.0,
        "groups_with_signal": sum(map(has_signal, by_task.values())) / max(1, len(by_task)),
        "rollouts": len(trajectories),
        "failed": len(trajectories) - len(alive),
        "response_tokens": sum(len(turn.ids) for turn in turns) / max(1, len(trajectories)),
        "prompt_tokens": sum(len(turn.prompt_ids) for turn in turns) / max(1, len(turns)),
        "truncated": sum(turn.finish_reason == "length" for turn in turns) / max(1, len(turns)),
        "new_paths": sum(len(sampled_paths(t.turns)) - 1 for t in trajectories if t.turns),
        **counters(trajectories),
    }
    if (correlation := length_correlation(alive)) is not None:
        described["length_correlation"] = correlation
    for name in sorted({name for t in trajectories for name in t.parts}):
        held = [t.parts[name] for t in trajectories if name in t.parts]
        described[f"reward/{name}"] = sum(held) / len(held)
    return described
