"""`train_sft` as it is called from Python: rows, run folder, lock."""

import shutil
import threading
import time

import pytest

from homeground import SftConfig, train_sft
from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import read_jsonl
from homeground.policy import TokenPath
from homeground.runs.workspace import RunFolder
from homeground.training import example_of
from homeground.training.rendering import render_rows

from ..policy import tiny

ROWS = [
    {"prompt": "ab", "completion": "abcabcabc"},
    {"messages": [{"role": "user", "content": "the"}, {"role": "assistant", "content": "abcabc"}]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("model") / "llama", tiny.llama_config())


@pytest.fixture
def policy(folder):
    return tiny.policy_of(folder, shaken=False)


def config(**changes):
    return SftConfig(batch_size=2, **changes)


def test_rows_are_learned_and_the_run_is_kept(policy, tmp_path):
    run = train_sft(
        policy, ROWS, config(epochs=12, learning_rate=2e-2), heldout=ROWS[:1], folder=tmp_path / "run", quiet=True
    )
    losses = [step["loss"] for step in run.history]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.5
    assert "heldout_loss" in run.history[-1]
    assert (run.adapter / "adapter_config.json").is_file()
    with pytest.raises(UsageError, match="holds a run already"):
        train_sft(policy, ROWS, folder=tmp_path / "run", quiet=True)


def test_a_run_goes_on_where_it_stopped(policy, tmp_path):
    first = train_sft(policy, ROWS, config(epochs=2, checkpoint_every=1), folder=tmp_path, quiet=True)
    again = train_sft(policy, ROWS, config(epochs=3, checkpoint_every=1), folder=tmp_path, resume=True, quiet=True)
    assert [step["step"] for step in first.history + again.history] == [1, 2, 3]


def test_a_run_that_another_process_trains_is_refused(policy, tmp_path):
    with RunFolder(tmp_path / "run").locked(), pytest.raises(HomegroundError, match="'run' is in use by process"):
        train_sft(policy, ROWS, folder=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_deleted_under_its_run_ends_it_in_words(policy, tmp_path):
    folder = tmp_path / "run"

    def delete():
        while not (folder / "metrics.jsonl").is_file():
            time.sleep(0.01)
        shutil.rmtree(folder)

    thief = threading.Thread(target=delete)
    thief.start()
    with pytest.raises(HomegroundError, match="the folder of the run 'run' was deleted while it was trained"):
        train_sft(policy, ROWS, config(epochs=2000), folder=folder, quiet=True)
    thief.join()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"prompt": "a", "completion": "b"}, {"colour": "red"}], "no known format: its fields are colour"),
    ],
)
def test_rows_that_teach_nothing_are_told(policy, tmp_path, rows, message):
    with pytest.raises(UsageError, match=message) as caught:
        train_sft(policy, rows, folder=tmp_path, quiet=True)
    assert caught.value.hint
    assert caught.value.where == ("row 2" if rows else None)


def test_a_row_that_the_template_cannot_show_is_told(policy, tmp_path):
    thinking = {"prompt": "a", "completion": "b", "thinking": "hm"}
    with pytest.raises(UsageError, match="leaves out the thoughts") as caught:
        train_sft(policy, [ROWS[0], thinking], folder=tmp_path, quiet=True)
    assert caught.value.where == "row 2"


def test_fields_that_a_data_set_adds_to_every_object_are_none_of_a_row_s(policy):
    from datasets import Dataset

    def row(arguments):
        call = {"function": {"name": "find", "arguments": arguments}}
        return {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]}

    rows = [row({"text": "a"}), row({"limit": 1})]
    plain, table = (render_rows(policy, given, SftConfig()).paths for given in (rows, Dataset.from_list(rows)))
    assert [path.ids for path in plain] == [path.ids for path in table]


@pytest.mark.parametrize(("rows", "message", "where"), [
    ((row for row in ROWS), "the rows are an iterator, which can be read only once", None),
    (["hello"], "a row must be a mapping of its fields, not str", "row 1"),
    ([ROWS[0], None], "a row must be a mapping of its fields, not NoneType", "row 2"),
    (ROWS[0], "a row must be a mapping of its fields, not str", "row 1"),
])  # fmt: skip
def test_rows_of_a_wrong_type_are_told(policy, tmp_path, rows, message, where):
    with pytest.raises(UsageError, match=message) as caught:
        train_sft(policy, rows, folder=tmp_path, quiet=True)
    assert caught.value.where == where
    assert caught.value.hint


def test_rows_that_are_rendered_already_are_taken_as_they_are(policy, tmp_path):
    paths = render_rows(policy, ROWS, SftConfig()).paths
    runs = [
        train_sft(policy, rows, config(learning_rate=1e-30), tmp_path / name, quiet=True)
        for name, rows in (("raw", ROWS), ("examples", [example_of(row) for row in ROWS]), ("paths", paths))
    ]
    assert len({run.history[0]["loss"] for run in runs}) == 1
    with pytest.raises(UsageError, match="the row has no trained token") as caught:
        train_sft(policy, [paths[0], TokenPath([1, 2], [])], folder=tmp_path / "none", quiet=True)
    assert caught.value.where == "row 2"


def test_a_listener_gets_each_step_as_it_was_recorded(policy, tmp_path):
    heard = []
    run = train_sft(policy, ROWS, config(epochs=2), tmp_path, quiet=True, on_step=heard.append)
    assert heard == run.history == read_jsonl(tmp_path / "metrics.jsonl")
    assert run.summary == f"2 examples, loss {heard[0]['loss']:.2f} -> {heard[1]['loss']:.2f}"


def test_a_run_folder_of_a_command_is_locked_by_it_and_keeps_what_other_stages_left(policy, tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.locked():
        first = train_sft(policy, ROWS, config(checkpoint_every=1), run, quiet=True)
        again = train_sft(policy, ROWS, config(checkpoint_every=1, epochs=2), run, quiet=True)
    assert [step["step"] for step in first.history + again.history] == [1, 2]
    assert (run.checkpoints / "sft" / "step-000002.ckpt").is_file()
