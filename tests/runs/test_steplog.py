"""What is shown and kept of each step."""

import shutil

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.files import read_jsonl
from homeground.base.progress import Progress
from homeground.runs import steplog
from homeground.runs.steplog import SFT_COLUMNS, StepLog
from homeground.runs.workspace import RunFolder


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test turns."""
    now = [100.0]
    monkeypatch.setattr(steplog, "monotonic", lambda: now[0])
    return now


def step(number, **more):
    return {"stage": "sft", "step": number, "loss": 1.25, "learning_rate": 5e-4, "seconds": 4.0, **more}


def test_the_time_left_counts_evaluations_but_no_preparation(tmp_path, clock, capsys):
    run = RunFolder(tmp_path / "run")
    with (
        Progress() as progress,
        StepLog(run, "sft", done=2, steps=1000, progress=progress, title="SFT", columns=SFT_COLUMNS) as log,
    ):
        clock[0] += 60  # a rehearsal
        log(step(3))
        clock[0] += 10  # a step of 4 seconds, and an evaluation
        log(step(4, heldout_loss=2.5, mfu=0.123))
    rows = read_jsonl(run.metrics_jsonl)
    assert [row["eta_s"] for row in rows] == [4.0 * 997, 7.0 * 996]
    heads, first, second = capsys.readouterr().err.splitlines()[1:4]
    assert heads.split() == ["step", "loss", "held-out", "lr", "grad", "tok/s", "MFU", "MB", "s", "ETA"]
    assert first.split()[2] == "-"
    assert second.split() == ["4", "1.25", "2.5", "0.0005", "-", "-", "12%", "-", "4", "1:56:12"]


def test_steps_after_the_last_checkpoint_are_forgotten(tmp_path):
    run = RunFolder(tmp_path / "run")
    for done in (0, 1):
        with StepLog(
            run, "sft", done=done, steps=3, progress=Progress(quiet=True), title="", columns=SFT_COLUMNS
        ) as log:
            for number in range(done + 1, 4):
                log(step(number))
    assert [row["step"] for row in read_jsonl(run.metrics_jsonl)] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's writer
@pytest.mark.parametrize("last", [1, 2])
def test_a_run_whose_folder_is_deleted_ends_with_a_sentence(tmp_path, last):
    run = RunFolder(tmp_path / "run")
    log = StepLog(run, "sft", done=0, steps=3, progress=Progress(quiet=True), title="", columns=SFT_COLUMNS)

    def train():
        with log:
            log(step(1))
            shutil.rmtree(run.path)
            if last == 2:
                log(step(2))

    with pytest.raises(HomegroundError, match="folder of the run 'run' was deleted while it was trained") as caught:
        train()
    assert caught.value.where == str(run.path)
    assert "homeground runs remove" in caught.value.hint
