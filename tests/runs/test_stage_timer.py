import time

import pytest

from homeground.runs.stage_timer import timed
from homeground.runs.workspace import RunFolder


def test_a_stage_that_ends_is_recorded_with_its_time_and_memory(tmp_path):
    run = RunFolder(tmp_path / "mine")
    with timed(run, "sft"):
        data = bytearray(50_000_000)
        time.sleep(0.3)
        del data
    facts = run.finished()["sft"]
    assert 0.3 <= facts["seconds"] < 10
    assert facts["peak_memory_mb"] > 50


def test_a_stage_that_fails_is_not_recorded(tmp_path):
    run = RunFolder(tmp_path / "mine")
    with pytest.raises(KeyboardInterrupt), timed(run, "sft"):
        raise KeyboardInterrupt
    assert run.finished() == {}
