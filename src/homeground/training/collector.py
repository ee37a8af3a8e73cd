"""Rollouts for one step after the other: which tasks, and how a resumed run goes on.

Which tasks a step rolls out follows from the seed and from what the rollouts before it earned; checkpoints hold both. A
run that is killed while rollouts are in flight starts that step again.

With ``asynchronous`` the next step's rollouts are sampled in a thread of their own while this one's update computes.
Weights are published only when those rollouts have ended, so that every request, and every rollout, keeps one version;
the weights have moved by one step when they are trained, never by more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.rollouts.source import Source
from homeground.rollouts.trajectory import Trajectory, TrajectoryGroup
from homeground.training.config import GrpoConfig
from homeground.training.task_stream import TaskStream


@dataclass(frozen=True)
class Batch:
    """Rollouts of a step.

    Attributes:
        groups: that are trained.
        passed_over: groups that dynamic sampling left aside.
    """

    groups: list[TrajectoryGroup]
    passed_over: int


class Collector:
    """Rolls out the tasks of each step.

    Args:
        source: rolls tasks out.
        stream: draws them.
        config: of the run.
    """

    def __init__(self, source: Source, stream: TaskStream, config: GrpoConfig) -> None:
        self._source = source
        self._stream = stream
        self._rl = config
        self._collections = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="homeground-ahead")
        self._ahead: Future[Batch] | None = None
        self._note()

    def take(self, *, more: bool) -> Batch:
        """The rollouts of the next step; where they are sampled ahead and ``more`` will be taken, those start now."""
        if self._ahead is None:
            batch = self._sample()
        else:
            batch, self._ahead = self._ahead.result(), None
        self._note()
        if self._rl.asynchronous and more:
            self._ahead = self._thread.submit(self._sample)
        return batch

    def settle(self) -> None:
        """Wait until no rollout is in flight; what went wrong there is raised by the next :meth:`take`."""
        if self._ahead is not None:
            wait([self._ahead])

    def describe(self) -> dict[str, int]:
        """Counts of the task stream, for the log."""
        return self._described

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it; rollouts in flight are sampled again."""
        return self._state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._stream.restore(state["stream"])
        self._collections = state["collections"]
        self._note()

    def _note(self) -> None:
        """Keep what log and checkpoint of this step hold, before the sampling of the next one moves it."""
        self._state: dict[str, Any] = {"stream": self._stream.state(), "collections": self._collections}
        self._described = self._stream.describe()

    def _sample(self) -> Batch:
        """Roll out tasks until enough of their groups have signal, or the rounds are used up."""
        wanted = self._rl.tasks_per_step
        useful: list[TrajectoryGroup] = []
        idle: list[TrajectoryGroup] = []
        for _ in range(1 + self._rl.dynamic_sampling):
            for group in self._round(wanted):
                self._stream.saw(group)
                (useful if group.has_signal or not self._rl.dynamic_sampling else idle).append(group)
            if len(useful) >= wanted:
                break
        # When signal stays rare the step is filled up: their KL still counts, and what is logged stays comparable.
        found = [*useful, *idle]
        return Batch(found[:wanted], len(found) - min(wanted, len(found)))

    def _round(self, count: int) -> list[TrajectoryGroup]:
        """Roll out some tasks; every one's group, also one in which nothing came back."""
        drawn = self._stream.draw(count)
        tasks = [self._stream.tasks[index] for index in drawn]
        found = self._source.collect(tasks, self._rl.group_size, self._collections)
        self._collections += 1
        _check_rewards(found)
        return [
            TrajectoryGroup(index, task, [t for t in found if t.task == place])
            for place, (index, task) in enumerate(zip(drawn, tasks, strict=True))
        ]


def _check_rewards(trajectories: Sequence[Trajectory]) -> None:
    """Every reward must be a number, and every rollout there once.

    Raises:
        HomegroundError: a reward is not finite, or a rollout comes twice.
    """
    seen: set[str] = set()
    for t in trajectories:
        if t.reward is not None and not math.isfinite(t.reward):
            raise HomegroundError(
                f"a rollout got the reward {t.reward}",
                where=f"rollout {t.rollout_id}",
                hint="a reward must be a finite number; raise an error in the agent to leave a rollout out",
            )
        if t.rollout_id in seen:
            raise HomegroundError("a rollout would be trained twice", where=f"rollout {t.rollout_id}")
        seen.add(t.rollout_id)
