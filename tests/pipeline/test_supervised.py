"""`train_sft` and `evaluate_policy`, as they are called from Python."""

import shutil
import threading
import time

import pytest

from homeground import SftConfig, train_sft
from homeground.base.errors import HomegroundError, UsageError
from homeground.base.workspace import RunFolder
from homeground.evaluate import Evaluation, evaluate_policy, mean_interval
from tests.policy import tiny

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


def short(prompt, completion):
    return 1.0 / (1 + len(completion))


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

    from homeground.pipeline.supervised import _rendered

    def row(arguments):
        call = {"function": {"name": "find", "arguments": arguments}}
        return {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]}

    rows = [row({"text": "a"}), row({"limit": 1})]
    plain, table = (_rendered(policy, given, SftConfig()) for given in (rows, Dataset.from_list(rows)))
    assert [path.ids for path in plain] == [path.ids for path in table]


def test_a_policy_is_evaluated_greedily_and_compared_with_itself(policy):
    prompts = ["ab", "the", "abc"]
    first, again = (evaluate_policy(policy, prompts, short, max_tokens=6) for _ in range(2))
    assert first.outcomes == again.outcomes
    assert first.rewards == [short(prompt, outcome) for prompt, outcome in zip(prompts, first.outcomes, strict=True)]
    assert (first.reward["n"], first.failed) == (3, 0)
    assert again.gain(first) == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 3}


def test_an_agent_that_fails_counts_as_nothing(policy):
    async def broken(task, client):
        raise RuntimeError("lost")

    found = evaluate_policy(policy, ["a", "b"], agent=broken)
    assert (found.failed, found.rewards) == (2, [0.0, 0.0])


def test_a_wrong_call_is_told_with_what_to_do(policy):
    with pytest.raises(UsageError, match="wants a reward or an agent"):
        evaluate_policy(policy, ["a"])
    with pytest.raises(UsageError, match="has no prompts"):
        evaluate_policy(policy, [], short)
    one = Evaluation([1.0], ["a"], 0, mean_interval([1.0]))
    two = Evaluation([1.0, 0.0], ["a", "b"], 0, mean_interval([1.0, 0.0]))
    with pytest.raises(UsageError, match="2 prompts cannot be paired with 1"):
        two.gain(one)
