"""Order of tasks: an endless stream of shuffled rounds, in which tasks without signal may come less often.

A group whose rewards are all equal gives no signal. With a curriculum, a task whose last n groups gave none is taken
with probability ``max(floor, rate ** n)`` when its turn comes, and skipped otherwise. One group with different rewards
resets n to 0. So tasks that are too hard or too easy at present are still tried occasionally.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from homeground.rollouts.trajectory import NO_SIGNAL, TrajectoryGroup
from homeground.training.config import CurriculumConfig

_EVEN = CurriculumConfig()


class TaskStream:
    """Draws tasks by their index. A subclass that draws otherwise can be given to ``train_grpo`` in place of tasks.

    Args:
        tasks: that are drawn from.
        seed: of their order.
        curriculum: see there.
    """

    def __init__(self, tasks: Sequence[Any], seed: int = 0, curriculum: CurriculumConfig = _EVEN) -> None:
        self.tasks = tasks
        self._count = len(tasks)
        self._seed = seed
        self._curriculum = curriculum
        self._place = 0
        self._idle: dict[int, int] = {}
        self._equal: dict[int, float] = {}
        self._best = float("-inf")
        self.skipped = 0

    def draw(self, count: int) -> list[int]:
        """The next tasks; ``skipped`` counts those passed over on the way."""
        return [self._next() for _ in range(count)]

    def saw(self, group: TrajectoryGroup) -> None:
        """Take note of a group that was rolled out; a single reward says nothing."""
        rewards, task = group.rewards_G[group.present_G], group.index
        if len(rewards) < 2:
            return
        self._best = max(self._best, float(rewards.max()))
        if group.has_signal:
            self._idle.pop(task, None)
            self._equal.pop(task, None)
        else:
            self._idle[task] = self._idle.get(task, 0) + 1
            self._equal[task] = float(rewards.mean())

    def describe(self) -> dict[str, int]:
        """For the log: tasks whose last group always reached the best reward seen, or never did;
        and how often a task was skipped.
        """
        always = sum(reward >= self._best - NO_SIGNAL for reward in self._equal.values())
        never = len(self._equal) - always
        return {"tasks_always": always, "tasks_never": never, "tasks_skipped": self.skipped}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {
            "place": self._place,
            "idle": dict(self._idle),
            "equal": dict(self._equal),
            "best": self._best,
            "skipped": self.skipped,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._place, self._best, self.skipped = state["place"], state["best"], state["skipped"]
        self._idle, self._equal = dict(state["idle"]), dict(state["equal"])

    def _next(self) -> int:
        # After a whole round of tasks passed over, chance has had its say.
        for _ in range(self._count):
            task = self._at(self._place)
            self._place += 1
            if self._taken(task):
                return task
            self.skipped += 1
        task = self._at(self._place)
        self._place += 1
        return task

    def _at(self, place: int) -> int:
        epoch, within = divmod(place, self._count)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return int(torch.randperm(self._count, generator=generator)[within])

    def _taken(self, task: int) -> bool:
        idle = self._idle.get(task, 0)
        chance = max(self._curriculum.floor, self._curriculum.rate**idle)
        return chance >= 1 or random.Random(f"{self._seed} {self._place}").random() < chance
