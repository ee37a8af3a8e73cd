"""Rollouts for one step after the other: which tasks, from which source, in which order; and how a resumed run goes on.

Which tasks a step rolls out follows from the seed and from what the rollouts before it earned; checkpoints hold both. A
run that is killed while rollouts are in flight starts that step again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.rollouts.source import Source
from homeground.rollouts.trajectory import Trajectory
from homeground.training.batch import check_rewards, has_signal
from homeground.training.grpo_settings import GrpoSettings
from homeground.training.task_stream import TaskStream


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    Attributes:
        trajectories: ``Trajectory.task`` is an index into ``tasks``.
        tasks: of each group.
        passed_over: groups that dynamic sampling left aside.
    """

    trajectories: list[Trajectory]
    tasks: list[Any]
    passed_over: int = 0


class Collector:
    """Rolls out the tasks of each step.

    Args:
        source: rolls tasks out.
        tasks: what to train on.
        settings: of the run.

    Raises:
        HomegroundError: fewer tasks than a step takes.
    """

    def __init__(self, source: Source, tasks: Sequence[Any], settings: GrpoSettings) -> None:
        if len(tasks) < settings.tasks_per_step:
            raise HomegroundError(
                f"{len(tasks)} tasks are fewer than the {settings.tasks_per_step} of one step",
                hint="lower rl.tasks_per_step, or make more tasks",
            )
        self._source = source
        self._tasks = tasks
        self._rl = settings
        self._stream = TaskStream(len(tasks), settings.seed, settings.curriculum)
        self._collections = 0

    def take(self) -> Batch:
        """The rollouts of the next step."""
        return self._collect()

    def describe(self) -> dict[str, int]:
        """For the log: what the curriculum does."""
        return {**self._stream.describe(), "tasks_skipped": self._stream.skipped}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"stream": self._stream.state(), "collections": self._collections}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._stream.restore(state["stream"])
        self._collections = state["collections"]

    def _collect(self) -> Batch:
        wanted = self._rl.tasks_per_step
        useful: list[tuple[int, list[Trajectory]]] = []
        idle: list[tuple[int, list[Trajectory]]] = []
        for _ in range(1 + self._rl.dynamic_sampling):
            for task, group in self._round(self._stream.draw(wanted)):
                self._stream.saw(task, [t.reward for t in group if t.reward is not None and t.turns])
                (useful if has_signal(group) or not self._rl.dynamic_sampling else idle).append((task, group))
            if len(useful) >= wanted:
                break
        # When signal stays rare the step is filled up: their KL still counts, and what is logged stays comparable.
        chosen = (useful + idle)[:wanted]
        return Batch(
            [replace(t, task=index) for index, (_, group) in enumerate(chosen) for t in group],
            [self._tasks[task] for task, _ in chosen],
            len(useful) + len(idle) - len(chosen),
        )

    def _round(self, drawn: list[int]) -> list[tuple[int, list[Trajectory]]]:
        """Roll out some tasks; every one's group, also one in which nothing came back."""
        found = self._source.collect([self._tasks[i] for i in drawn], self._rl.group_size, self._collections)
        self._collections += 1
        check_rewards(found)
        groups: dict[int, list[Trajectory]] = defaultdict(list)
        for t in found:
            groups[t.task].append(t)
        return [(task, groups[place]) for place, task in enumerate(drawn)]
