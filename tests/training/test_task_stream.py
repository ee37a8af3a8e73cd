import json

import pytest

from homeground.rollouts import Trajectory, TrajectoryGroup, Turn
from homeground.training.task_stream import CurriculumConfig, TaskStream

NEVER, ALWAYS, MIXED = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]


def stream(count=5, seed=1, **curriculum):
    return TaskStream(range(count), seed, CurriculumConfig(**curriculum))


def group(task, rewards):
    turn = Turn([1], [2], [-0.5], "stop", 0)
    return TrajectoryGroup(task, task, [Trajectory(f"{task}-{n}", 0, [turn], r) for n, r in enumerate(rewards)])


def run(tasks, steps, rewards):
    """Draw two tasks a step and tell their rewards; how often each was drawn."""
    drawn = []
    for _ in range(steps):
        for task in tasks.draw(2):
            drawn.append(task)
            tasks.saw(group(task, rewards(task)))
    return drawn


def test_every_task_is_visited_before_any_comes_again():
    drawn = stream().draw(50)
    rounds = [drawn[i : i + 5] for i in range(0, 50, 5)]
    assert all(sorted(r) == [0, 1, 2, 3, 4] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1, "the order never changes"
    assert stream(seed=2).draw(50) != drawn


def test_without_a_curriculum_rewards_change_nothing():
    tasks = stream(seed=3)
    assert run(tasks, 25, lambda task: NEVER) == stream(seed=3).draw(50)
    assert tasks.skipped == 0


def test_tasks_that_never_or_always_succeed_are_sampled_less():
    rewards = {0: NEVER, 1: ALWAYS}
    tasks = stream(rate=0.5, floor=0.1)
    drawn = run(tasks, 200, lambda task: rewards.get(task, MIXED))
    counts = [drawn.count(task) for task in range(5)]
    assert all(0 < counts[task] < 0.3 * counts[other] for task in (0, 1) for other in (2, 3, 4))
    counts = tasks.describe()
    assert (counts["tasks_always"], counts["tasks_never"]) == (1, 1)
    assert tasks.skipped > 0


def test_a_task_with_signal_again_comes_as_often_as_before():
    tasks = stream(rate=0.01, floor=0.01)
    run(tasks, 20, lambda task: NEVER if task < 3 else MIXED)
    for task in range(3):
        tasks.saw(group(task, MIXED))
    before = tasks.skipped
    assert sorted(tasks.draw(5 * 4))[:4] == [0] * 4
    assert tasks.skipped == before


def test_where_no_task_has_signal_sampling_goes_on():
    tasks = stream(count=2, rate=0.01, floor=0.01)
    assert len(run(tasks, 50, lambda task: NEVER)) == 100


def test_a_single_reward_says_nothing():
    tasks = stream(rate=0.01, floor=0.01)
    run(tasks, 20, lambda task: [0.0])
    assert tasks.skipped == 0
    assert tasks.describe() == {"tasks_always": 0, "tasks_never": 0, "tasks_skipped": 0}


@pytest.mark.parametrize("at", [1, 17, 60])
def test_a_restored_stream_goes_on_where_it_was(at):
    def rewards(task):
        return NEVER if task in (0, 3) else MIXED

    straight = stream(rate=0.3)
    drawn = run(straight, 100, rewards)
    first = stream(rate=0.3)
    begun = run(first, at, rewards)
    again = stream(rate=0.3)
    again.restore(first.state())
    assert begun + run(again, 100 - at, rewards) == drawn
    assert again.state() == straight.state()
    assert json.dumps(again.state())
