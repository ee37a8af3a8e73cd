"""Sources of rollouts for benchmarks: of fixed lengths, sampled or written."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.sides.workload import Task, Workload
from homeground.base.threads import release_workers
from homeground.rollouts import Generation, Sampler, SamplingParams, Trajectory, Turn
from homeground.rollouts.sampling import uniform


class SampledSource:
    """Every rollout samples exactly its length a turn: no end token is given to the sampler.

    Args:
        sampler: of the policy.
        workload: the setting's; tasks are its steps.
    """

    def __init__(self, sampler: Sampler, workload: Workload) -> None:
        self._sampler = sampler
        self._workload = workload
        self.max_tokens = None
        self.collected: list[Trajectory] = []

    def collect(self, tasks: Sequence[int], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`homeground.rollouts.source.Source`; the turns of a group are asked for together."""
        release_workers()
        self.collected = []
        for index, at in enumerate(tasks):
            task = self._workload.task(at)
            turns: list[list[Turn]] = [[] for _ in range(group_size)]
            histories = [list(task.prompt) for _ in range(group_size)]
            for number in range(self._workload.setting.turns):
                pending = [
                    self._sampler.submit(
                        histories[g],
                        task.lengths[g][number],
                        SamplingParams(seed=int(uniform(step, g * 100 + number) * 2**53)),
                    )
                    for g in range(group_size)
                ]
                for g, future in enumerate(pending):
                    done = future.result()
                    turns[g].append(_turn(done))
                    if number < len(task.results[g]):
                        histories[g] += [*done.ids, *task.results[g][number]]
            self.collected += _trajectories(task, index, turns)
        return self.collected

    def publish(self) -> int:
        """See :class:`homeground.rollouts.source.Source`."""
        return self._sampler.publish()


class WrittenSource:
    """Rollouts of tokens that nobody sampled, for measuring an update alone.

    Args:
        workload: the setting's; tasks are its steps.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.max_tokens = None
        self.collected: list[Trajectory] = []

    def collect(self, tasks: Sequence[int], group_size: int, step: int) -> list[Trajectory]:
        """See :class:`homeground.rollouts.source.Source`."""
        del group_size, step
        self.collected = []
        for index, at in enumerate(tasks):
            task = self._workload.task(at)
            turns = [
                [Turn(prompt, ids, [0.0] * len(ids), "length", 0) for prompt, ids in calls]
                for calls in task.rows(self._workload.written(at))
            ]
            self.collected += _trajectories(task, index, turns)
        return self.collected

    def publish(self) -> int:
        """Nothing samples from the new weights."""
        return 0


def _turn(done: Generation) -> Turn:
    return Turn(done.prompt_ids, done.ids, done.logprobs, done.finish_reason.value, done.weights_version)


def _trajectories(task: Task, index: int, turns: list[list[Turn]]) -> list[Trajectory]:
    rewarded = zip(turns, task.rewards, strict=True)
    return [Trajectory(f"{index}-{g}", index, calls, reward) for g, (calls, reward) in enumerate(rewarded)]
