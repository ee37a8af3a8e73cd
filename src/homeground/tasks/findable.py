"""Train tasks that plain search can do: the right definition is somewhere among the first hits of the whole question.

Where it is not, no rollout of a group finds it either, and the group teaches nothing. Held-out tasks are not filtered:
a measurement on tasks that search finds would say nothing of those it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from homeground.index import Hit
from homeground.tasks.config import TasksConfig
from homeground.tasks.task import LookupTask, rank_of
from homeground.tasks.taskset import TaskSet

UNFINDABLE = "not among the first hits of its own question"


def keep_findable(
    tasks: TaskSet,
    search: Callable[[str, int], Sequence[Hit]],
    config: TasksConfig,
    on_try: Callable[[], None] = lambda: None,
) -> TaskSet:
    """Keep the first train tasks whose definition is among the first hits, and all held-out tasks.

    Args:
        tasks: more train tasks than are wanted; their masks are all kept, so that the masked view stays the same.
        search: of the masked index: (query, how many) to hits.
        config: `findable` is how many hits; `train` is how many tasks are wanted at most.
        on_try: called after each search.
    """
    kept: list[LookupTask] = []
    dropped = 0
    for task in tasks.train:
        if len(kept) == config.train:
            break
        if rank_of(search(task.question, config.findable), task, config.findable) is not None:
            kept.append(task)
        else:
            dropped += 1
        on_try()
    return replace(tasks, train=kept, removed={**tasks.removed, UNFINDABLE: dropped})
