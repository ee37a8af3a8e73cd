"""Rollouts for one step after the other: which tasks, what joins their groups, and how a resumed run goes on.

Which tasks a step rolls out follows from the seed and from what the rollouts before it earned; checkpoints hold both. A
run that is killed while rollouts are in flight starts that step again.

With ``asynchronous`` the next step's rollouts are sampled in a thread of their own while this one's update computes.
Weights are published only when those rollouts have ended, so that every request, and every rollout, keeps one version;
the weights have moved by one step when they are trained, never by more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.rollouts.source import Source
from homeground.rollouts.trajectory import Trajectory
from homeground.training.batch import check_rewards, has_signal
from homeground.training.config import GrpoConfig
from homeground.training.experience import Experience
from homeground.training.off_policy import Experts, Guide, Origin, expert_guide
from homeground.training.task_stream import TaskStream

type Entropies = Callable[[Sequence[Trajectory]], Sequence[float]]
"""Mean -log p of the sampled tokens of each trajectory, under the policy as it is."""


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    Attributes:
        trajectories: ``Trajectory.task`` is an index into ``tasks``.
        tasks: of each group.
        passed_over: groups that dynamic sampling left aside.
        guides: rollouts that join the groups.
    """

    trajectories: list[Trajectory]
    tasks: list[Any]
    passed_over: int
    guides: list[Guide]


@dataclass(frozen=True)
class _Found:
    """Sampled groups by the index of their task, chosen ones first, and which tasks were there for past successes."""

    groups: list[tuple[int, list[Trajectory]]]
    replayed: list[int]


class Collector:
    """Rolls out the tasks of each step.

    Args:
        source: rolls tasks out.
        tasks: what to train on.
        config: of the run.
        tokenizer: renders experts' traces.
        entropies: chooses among past successes.
        experts: traces that join the groups, if any.
        seed: of the tasks' order.

    Raises:
        HomegroundError: fewer tasks than a step takes.
    """

    def __init__(
        self,
        source: Source,
        tasks: Sequence[Any],
        config: GrpoConfig,
        tokenizer: PreTrainedTokenizerBase,
        entropies: Entropies,
        experts: Experts | None = None,
        *,
        seed: int = 0,
    ) -> None:
        if len(tasks) < config.tasks_per_step:
            raise HomegroundError(
                f"{len(tasks)} tasks are fewer than the {config.tasks_per_step} of one step",
                hint="lower rl.tasks_per_step, or make more tasks",
            )
        self._source = source
        self._tasks = tasks
        self._rl = config
        self._tokenizer = tokenizer
        self._entropies = entropies
        self._experts = experts
        self._stream = TaskStream(len(tasks), seed, config.curriculum)
        self._experience = Experience(config.exgrpo, seed)
        self._collections = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="homeground-ahead")
        self._ahead: Future[_Found] | None = None
        self._note()

    def take(self, *, more: bool) -> Batch:
        """The rollouts of the next step; where they are sampled ahead and ``more`` will be taken, those start now."""
        if self._ahead is None:
            found = self._sample()
        else:
            found, self._ahead = self._ahead.result(), None
        batch = self._batch(found)
        if self._rl.exgrpo.share:
            self._experience.saw([(task, _trainable(group)) for task, group in found.groups])
        self._note()
        if self._rl.asynchronous and more:
            self._ahead = self._thread.submit(self._sample)
        return batch

    def settle(self) -> None:
        """Wait until no rollout is in flight; what went wrong there is raised by the next :meth:`take`."""
        if self._ahead is not None:
            wait([self._ahead])

    def describe(self) -> dict[str, int]:
        """For the log: what the curriculum and the replay do."""
        return self._described

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it; rollouts in flight are sampled again."""
        return {**self._state, "experience": self._experience.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._stream.restore(state["stream"])
        if "experience" in state:
            self._experience.restore(state["experience"])
        self._collections = state["collections"]
        self._note()

    def _note(self) -> None:
        """Keep what log and checkpoint of this step hold, before the sampling of the next one moves it."""
        self._state: dict[str, Any] = {"stream": self._stream.state(), "collections": self._collections}
        self._described = {**self._stream.describe(), "tasks_skipped": self._stream.skipped}
        if self._rl.exgrpo.share:
            self._described["tasks_replayable"] = len(self._experience)

    def _sample(self) -> _Found:
        """Roll out tasks until enough of their groups have signal, or the rounds are used up."""
        wanted = self._rl.tasks_per_step
        replayed = self._experience.propose(wanted, self._collections)
        useful: list[tuple[int, list[Trajectory]]] = []
        idle: list[tuple[int, list[Trajectory]]] = []
        for attempt in range(1 + self._rl.dynamic_sampling):
            again = [] if attempt else replayed
            for task, group in self._round([*again, *self._stream.draw(wanted - len(again))]):
                self._stream.saw(task, [t.reward for t in _trainable(group) if t.reward is not None])
                (useful if has_signal(group) or not self._rl.dynamic_sampling else idle).append((task, group))
            if len(useful) >= wanted:
                break
        return _Found([*useful, *idle], replayed)

    def _round(self, drawn: list[int]) -> list[tuple[int, list[Trajectory]]]:
        """Roll out some tasks; every one's group, also one in which nothing came back."""
        found = self._source.collect([self._tasks[i] for i in drawn], self._rl.group_size, self._collections)
        self._collections += 1
        check_rewards(found)
        groups: dict[int, list[Trajectory]] = defaultdict(list)
        for t in found:
            groups[t.task].append(t)
        return [(task, groups[place]) for place, task in enumerate(drawn)]

    def _batch(self, found: _Found) -> Batch:
        # When signal stays rare the step is filled up: their KL still counts, and what is logged stays comparable.
        chosen = found.groups[: self._rl.tasks_per_step]
        guides: list[Guide] = []
        left = set(found.replayed)
        for group, (task, _) in enumerate(chosen):
            guides += self._expert_guides(group, self._tasks[task])
            if task in left and (success := self._experience.choose(task, self._entropies)) is not None:
                # The stream may have drawn the same task too.
                left.remove(task)
                guides.append(Guide(replace(success, task=group), Origin.REPLAYED, self._rl.exgrpo.gamma))
        return Batch(
            [replace(t, task=index) for index, (_, group) in enumerate(chosen) for t in group],
            [self._tasks[task] for task, _ in chosen],
            len(found.groups) - len(chosen),
            guides,
        )

    def _expert_guides(self, group: int, task: Any) -> list[Guide]:
        if self._experts is None:
            return []
        luffy = self._rl.luffy
        return [
            expert_guide(self._tokenizer, trace, group, f"expert-{group}-{number}", luffy.gamma)
            for number, trace in enumerate(self._experts(task)[: luffy.per_group])
        ]


def _trainable(group: Sequence[Trajectory]) -> list[Trajectory]:
    return [t for t in group if t.reward is not None and t.turns]
