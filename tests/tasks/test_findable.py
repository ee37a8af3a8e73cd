from dataclasses import replace

from homeground.index import Hit
from homeground.tasks import LookupTask, Split, TasksConfig, TaskSet, keep_findable


def task(name: str, split: Split) -> LookupTask:
    return LookupTask(name, f"what does {name} do?", f"a.py::{name}", "a.py", name, split)


def hit(symbol: str) -> Hit:
    return Hit("a.py", 1, 2, symbol, "function", "python", 1.0, {}, "", symbol)


def searching(found: dict[str, list[str]]):
    def search(query: str, k: int) -> list[Hit]:
        return [hit(symbol) for symbol in found[query.split()[2]][:k]]

    return search


TASKS = TaskSet(
    train=[task(name, Split.TRAIN) for name in "abc"],
    heldout=[task(name, Split.HELDOUT) for name in "de"],
    removed={"other": 2},
)
FOUND = {"a": ["a"], "b": ["x", "y", "b"], "c": ["x", "c"], "d": ["x"], "e": ["e"]}


def test_only_tasks_found_within_the_depth_are_trained_on_and_every_heldout_task_stays():
    kept = keep_findable(TASKS, searching(FOUND), TasksConfig(findable=2, train=10, heldout=10))
    assert [t.symbol for t in kept.train] == ["a", "c"]
    assert kept.heldout == TASKS.heldout
    assert kept.removed == {"other": 2, "not among the first hits of its own question": 1}


def test_no_more_is_tried_than_is_wanted():
    tried = []
    kept = keep_findable(
        TASKS, searching(FOUND), TasksConfig(findable=2, train=2, heldout=1), on_try=lambda: tried.append(1)
    )
    assert [t.symbol for t in kept.train] == ["a", "c"]
    assert len(tried) == 3
    one = keep_findable(TASKS, searching(FOUND), TasksConfig(findable=2, train=1), on_try=lambda: tried.append(1))
    assert ([t.symbol for t in one.train], len(tried)) == (["a"], 4)


def test_masks_are_kept_so_that_the_masked_view_stays_the_same():
    chunk = object()
    tasks = replace(TASKS, masks={"old": chunk})  # type: ignore[dict-item]
    assert keep_findable(tasks, searching(FOUND), TasksConfig(findable=2, train=1, heldout=1)).masks == {"old": chunk}
