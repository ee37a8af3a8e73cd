import json
import os

import jsonschema
import pytest

from homeground import GrpoConfig, train_grpo
from homeground.cli import main
from homeground.runs.rolloutlog import RolloutLog
from homeground.runs.workspace import RunFolder, open_workspace
from tests.test_cli import SCHEMAS

from .evaluate.example_run import example_group
from .policy import tiny


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A workspace with two runs that kept rollouts, the second later."""
    workspace = open_workspace(tmp_path / "home")
    for age, (name, steps) in enumerate({"first": 2, "second": 20}.items()):
        log = RolloutLog(workspace.run(name), done=0)
        for step in range(1, steps + 1):
            log(step, [example_group(step, number, [0.1, 0.9, 0.5]) for number in range(2)])
        folder = workspace.run(name).path / "rollouts"
        os.utime(folder, (age, age))
    monkeypatch.setenv("HOMEGROUND_HOME", str(workspace.path))
    return workspace


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main(["rollouts", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def document(run, *arguments):
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / "rollouts.json").read_text())).validate(found)
    return found


def test_the_newest_run_s_last_step_is_shown_with_the_widest_group_side_by_side(run, home):
    code, out, _ = run()
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "run second, step 20; kept steps: 1, 2, 3 ... 18, 19, 20 (20)"
    assert any("0.10 0.90 0.50" in line for line in lines)
    (heads,) = [line for line in lines if line.startswith("best")]
    (pair,) = [line for line in lines if "20-0-1" in line]
    assert heads.index("worst") == pair.index("20-0-0: reward 0.100, advantage -1.22")
    assert "20-0-1: reward 0.900, advantage +1.22, 6 tokens in 1 turns" in pair
    assert 'call: find({"q": 1})' in out
    assert lines[-1] == "try: homeground rollouts second --step 20 --group 0 --rollout 0"


def test_a_group_and_a_rollout_can_be_chosen(run, home):
    assert "kept steps" not in run("first", "--step", 1, "--group", 1)[1]
    found = document(run, "first", "--step", 1, "--group", 1)
    assert (found["run"], found["steps"], [g["group"] for g in found["groups"]]) == ("first", [1, 2], [1])
    for wanted in (("--rollout", "2"), ("--rollout", "1-1-2")):
        found = document(run, "first", "--step", 1, "--group", 1, *wanted)
        assert [r["id"] for g in found["groups"] for r in g["rollouts"]] == ["1-1-2"]
    _, out, _ = run("first", "--step", 1, "--rollout", "1-1-2")
    assert "turn 1: read 40 tokens, wrote 6, ended by stop, weights 1" in out
    assert "1-1-1" not in out
    assert len(document(run, "--run", "second")["groups"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["third"], 2, "there is no run 'third'", "first, second"),
        (["--step", 99], 1, "no rollouts of step 99 were kept", "kept steps: 1, 2"),
        (["--group", 9], 2, "this step has no group 9", "groups: 0, 1"),
        (["--rollout", "9"], 2, "there is no rollout '9' in group 0 of step 20", "0 to 2"),
        (["first", "--run", "second"], 2, "two runs are named: first and second", "name one"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(run, home, arguments, code, message, hint):
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert hint in err


def test_a_workspace_and_a_run_without_rollouts_say_how_to_get_some(run, tmp_path, monkeypatch):
    workspace = open_workspace(tmp_path / "home")
    monkeypatch.setenv("HOMEGROUND_HOME", str(workspace.path))
    assert "no run of this workspace kept rollouts" in run()[2]
    workspace.run("empty").create()
    code, _, err = run("empty")
    assert code == 1
    assert "this run kept no rollouts" in err


def test_control_characters_of_a_rollout_do_not_reach_the_terminal(run, tmp_path):
    RolloutLog(RunFolder(tmp_path), done=0)(1, [example_group(1, 0, [0.0, 1.0], text="a\x1b[2J[bold]b")])
    _, out, _ = run(tmp_path)
    assert "\x1b" not in out
    assert "[2J[bold]b" in out


def test_a_group_without_a_difference_says_that_it_taught_nothing(run, tmp_path):
    RolloutLog(RunFolder(tmp_path), done=0)(1, [example_group(1, 0, [0.5, 0.5])])
    assert "all rewards of this group are equal: it taught nothing" in run(tmp_path)[1]


def test_what_train_grpo_tried_can_be_read(run, tmp_path):
    policy = tiny.policy_of(tiny.build(tmp_path / "model", tiny.llama_config()))
    train_grpo(
        policy, ["one", "two"], lambda prompt, text: float(len(text)), GrpoConfig(steps=2, group_size=3), max_tokens=4,
        folder=tmp_path / "run", quiet=True,
    )  # fmt: skip
    found = document(run, tmp_path / "run", "--step", 2)
    assert found["steps"] == [1, 2]
    assert sorted(g["task"] for g in found["groups"]) == ["one", "two"]
    for group in found["groups"]:
        assert len(group["rollouts"]) == 3
        assert sum(r["advantage"] for r in group["rollouts"]) == pytest.approx(0, abs=1e-5)
        assert all(group["task"] in r["turns"][0]["read"] for r in group["rollouts"])
        assert all(r["turns"][0]["tokens"] <= 4 for r in group["rollouts"])
