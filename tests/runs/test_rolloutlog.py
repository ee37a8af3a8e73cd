from itertools import pairwise

import pytest

from homeground.base.errors import HomegroundError
from homeground.runs.rolloutlog import RolloutLog, logged_steps, read_rollouts
from homeground.runs.workspace import RunFolder


def groups(step, size=100):
    return [{"step": step, "group": n, "task": "t" * size, "rollouts": []} for n in range(2)]


def test_what_is_kept_is_read_back(tmp_path):
    run = RunFolder(tmp_path)
    log = RolloutLog(run, done=0)
    log(1, groups(1))
    log(2, groups(2))
    assert logged_steps(run) == [1, 2]
    assert read_rollouts(run, 2) == groups(2)


def test_a_resumed_run_drops_the_steps_that_are_done_again(tmp_path):
    run = RunFolder(tmp_path)
    log = RolloutLog(run, done=0)
    for step in range(1, 6):
        log(step, groups(step))
    RolloutLog(run, done=3)
    assert logged_steps(run) == [1, 2, 3]


def test_beyond_the_limit_steps_are_thinned_out_evenly_and_the_newest_stays(tmp_path):
    run = RunFolder(tmp_path)
    log = RolloutLog(run, done=0, limit_mb=0.002)
    for step in range(1, 61):
        log(step, groups(step))
        assert logged_steps(run)[-1] == step
    kept = logged_steps(run)
    assert kept[0] == 1
    assert 5 <= len(kept) < 10
    assert max(b - a for a, b in pairwise(kept)) <= 20
    assert sum(file.stat().st_size for file in (tmp_path / "rollouts").iterdir()) <= 2000


def test_of_a_step_that_is_too_large_the_first_groups_are_kept(tmp_path):
    run = RunFolder(tmp_path)
    log = RolloutLog(run, done=0, limit_mb=0.001)
    log(1, groups(1))
    log(2, groups(2, size=800))
    assert logged_steps(run) == [2]
    assert [group["group"] for group in read_rollouts(run, 2)] == [0]


def test_a_step_that_was_not_kept_is_said(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(HomegroundError, match="no rollouts of step 3 were kept") as caught:
        read_rollouts(run, 3)
    assert "rl.keep_rollouts_mb" in caught.value.hint
    RolloutLog(run, done=0)(1, groups(1))
    with pytest.raises(HomegroundError) as caught:
        read_rollouts(run, 3)
    assert caught.value.hint == "kept steps: 1"
