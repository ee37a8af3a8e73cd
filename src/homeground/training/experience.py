"""Past successes of the policy, and which of them is tried again (ExGRPO, Zhan et al. 2025, arXiv 2510.02245).

Successful rollouts are kept by task, with the share of the group that succeeded when the task was last tried, ``Acc``,
and tasks lie in buckets of equal ``Acc``. A share rho of a step's tasks are then drawn from there: first a bucket, with
weights ``N(Acc; mean 0.5, deviation 1)`` since tasks that succeed half of the time teach most, then one of its tasks,
each as likely. Of a task's kept rollouts the one with the lowest entropy under the policy as it is now joins its group,
weighed as :mod:`homeground.training.off_policy` says. A task that succeeds every time leaves. Replay starts when a
step's mean ``Acc`` has reached a threshold once: before that, what succeeds is luck.

What differs from the paper: buckets are eighths for groups of any size; the entropy of a rollout is the mean of
``-log p`` of its sampled tokens; a task that left comes back when it stops to succeed every time.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from homeground.rollouts.trajectory import Trajectory, Turn
from homeground.training.config import ExgrpoConfig

KEPT = 4
"""Successes of a task that are kept, the newest."""
BUCKETS = 8
"""The paper's groups are of 8 rollouts."""


class Experience:
    """The successes of a run.

    Args:
        config: settings of the replay.
        seed: seed of the sampling.
    """

    def __init__(self, config: ExgrpoConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._begun = False
        self._accuracy: dict[int, float] = {}
        self._kept: dict[int, list[Trajectory]] = {}

    def __len__(self) -> int:
        """Tasks with a success that can be replayed."""
        return len(self._kept)

    def saw(self, groups: Sequence[tuple[int, Sequence[Trajectory]]]) -> None:
        """Take note of a step: each task with the rollouts of its group that can be trained."""
        accuracies: list[float] = []
        for task, group in groups:
            if not group:
                continue
            won = [t for t in group if t.reward is not None and t.reward >= self._config.success]
            accuracies.append(len(won) / len(group))
            self._accuracy[task] = accuracies[-1]
            if len(won) == len(group):
                self._kept.pop(task, None)
            elif won:
                self._kept[task] = [*self._kept.get(task, []), *won][-KEPT:]
        if accuracies and sum(accuracies) / len(accuracies) >= self._config.start:
            self._begun = True

    def propose(self, tasks_per_step: int, step: int) -> list[int]:
        """Tasks for a step, each at most once; fewer than their share where not enough are kept."""
        wanted = round(self._config.share * tasks_per_step) if self._begun else 0
        buckets: dict[int, list[int]] = defaultdict(list)
        for task in self._kept:
            buckets[round(BUCKETS * self._accuracy[task])].append(task)
        rng = random.Random(f"{self._seed} replay {step}")
        drawn: list[int] = []
        while buckets and len(drawn) < wanted:
            weights = [math.exp(-((bucket / BUCKETS - 0.5) ** 2) / 2) for bucket in buckets]
            (bucket,) = rng.choices(list(buckets), weights)
            drawn.append(buckets[bucket].pop(rng.randrange(len(buckets[bucket]))))
            if not buckets[bucket]:
                del buckets[bucket]
        return drawn

    def choose(self, task: int, entropies: Callable[[Sequence[Trajectory]], Sequence[float]]) -> Trajectory | None:
        """The kept success of a task that is the most certain now; None when there is none."""
        kept = self._kept.get(task, [])
        if len(kept) < 2:
            return kept[0] if kept else None
        found = list(entropies(kept))
        return kept[found.index(min(found))]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        kept = {task: [_packed(t) for t in trajectories] for task, trajectories in self._kept.items()}
        return {"begun": self._begun, "accuracy": dict(self._accuracy), "kept": kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._begun, self._accuracy = state["begun"], dict(state["accuracy"])
        self._kept = {task: [_unpacked(packed) for packed in kept] for task, kept in state["kept"].items()}


def _packed(trajectory: Trajectory) -> dict[str, Any]:
    """What training needs of a trajectory, as a checkpoint can hold it."""
    return {
        "id": trajectory.rollout_id,
        "reward": trajectory.reward,
        "parts": dict(trajectory.parts),
        "turns": [
            {
                "prompt": torch.tensor(turn.prompt_ids, dtype=torch.int32),
                "ids": torch.tensor(turn.ids, dtype=torch.int32),
                "logprobs": torch.tensor(turn.logprobs, dtype=torch.float64),
                "finish": turn.finish_reason,
                "version": turn.weights_version,
            }
            for turn in trajectory.turns
        ],
    }


def _unpacked(packed: dict[str, Any]) -> Trajectory:
    turns = [
        Turn(t["prompt"].tolist(), t["ids"].tolist(), t["logprobs"].tolist(), t["finish"], t["version"])
        for t in packed["turns"]
    ]
    return Trajectory(packed["id"], 0, turns, packed["reward"], packed["parts"])
