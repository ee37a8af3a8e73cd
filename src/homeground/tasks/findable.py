"""Tasks that plain search can do: the right function is somewhere among the first hits of the whole question.

Where it is not, no rollout of a group finds it either, and the group teaches nothing. The rule looks at neither split's
model and is the same for both.
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
    """The first tasks of each split whose function is among the first hits.

    Args:
        tasks: candidates, more than are wanted; their masks are all kept, so that the masked view stays the same.
        search: of the masked index: (query, how many) to hits.
        config: `findable` is how many hits; `train` and `heldout` are how many tasks are wanted at most.
        on_try: called after each search.
    """
    dropped = 0

    def first(candidates: Sequence[LookupTask], wanted: int) -> list[LookupTask]:
        nonlocal dropped
        kept: list[LookupTask] = []
        for task in candidates:
            if len(kept) == wanted:
                break
            found = rank_of(search(task.question, config.findable), task, config.findable) is not None
            on_try()
            if found:
                kept.append(task)
            else:
                dropped += 1
        return kept

    kept_train, kept_heldout = first(tasks.train, config.train), first(tasks.heldout, config.heldout)
    return replace(tasks, train=kept_train, heldout=kept_heldout, removed={**tasks.removed, UNFINDABLE: dropped})
