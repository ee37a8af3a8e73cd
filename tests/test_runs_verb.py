"""`homeground runs` and `homeground clean`, on a workspace with two runs as training leaves them."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from homeground.cli import main
from homeground.evaluate import TaskOutcome, evaluate_rollouts, save_outcomes
from homeground.recipe import load_recipe
from homeground.runs.workspace import open_workspace

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def make_run(workspace, name, steps, rewards):
    run = workspace.run(name).create()
    run.recipe.write_text(load_recipe(overrides={"run": name, "rl": {"steps": steps}}).to_yaml())
    run.metrics_jsonl.write_text('{"stage": "sft", "step": 8}\n{"stage": "rl", "step": 3}\n')
    outcomes = [TaskOutcome(f"task-{n}", reward, 0.0, 0.5, 1.0) for n, reward in enumerate(rewards)]
    for stage in ("sft", "rl"):
        save_outcomes(run.path / "evaluations" / f"{stage}.jsonl", outcomes)
    run.metrics.write_text(json.dumps({"stages": {"rl": evaluate_rollouts(outcomes)}}))
    for stage in ("sft", "rl"):
        (run.checkpoints / stage).mkdir(parents=True)
        (run.checkpoints / stage / "step-000003.ckpt").write_bytes(b"x" * 1000)
    (run.path / "masked-index").mkdir()
    (run.path / "masked-index" / "manifest.sqlite").write_bytes(b"x" * 500)
    (run.path / "adapter").mkdir()
    (run.path / "adapter" / "adapter_model.safetensors").write_bytes(b"x" * 100)
    run.finish("sft")
    return run


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = open_workspace()
    make_run(made, "first", 18, [0.1, 0.2, 0.3, 0.6])
    make_run(made, "second", 30, [0.2, 0.3, 0.5, 0.6]).finish("rl")
    return made


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_starting_an_unfinished_stage_again_keeps_its_checkpoints_and_names_resume(workspace, run, stage):
    mine = make_run(workspace, "mine", 18, [0.1])
    if stage == "sft":
        mine.state.unlink()
    (mine.path / "adapter-sft").mkdir()
    code, _, err = run(stage, "--run", "mine", "--force")
    assert code == 2
    assert f"the run 'mine' was stopped in '{stage}', and starting over would lose its checkpoints" in err
    assert "--resume" in err
    assert "homeground runs remove mine" in err
    assert (mine.checkpoints / stage / "step-000003.ckpt").is_file()


def test_a_run_that_is_written_to_is_neither_trained_nor_removed(workspace, run):
    (workspace.run("first").path / "adapter-sft").mkdir()
    with workspace.run("first").locked():
        for words in (["rl", "--run", "first", "--force"], ["runs", "remove", "first", "--yes"]):
            code, _, err = run(*words)
            assert code == 1
            assert "the run 'first' is in use by process" in err
    assert workspace.run("first").recipe.is_file()


def document(run, schema, *arguments):
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry = Registry().with_resources((file, Resource.from_contents(one)) for file, one in schemas.items())
    found = json.loads(out)
    jsonschema.Draft202012Validator(schemas[f"{schema}.json"], registry=registry).validate(found)
    return found


def test_runs_are_listed_with_what_they_finished_and_what_they_reached(run, workspace):
    found = {one["name"]: one for one in document(run, "runs", "runs")["runs"]}
    assert set(found) == {"first", "second"}
    assert (found["first"]["finished"], found["first"]["unfinished"]) == (["sft"], "rl")
    assert (found["second"]["finished"], found["second"]["unfinished"]) == (["sft", "rl"], None)
    assert found["second"]["steps"] == {"sft": 8, "rl": 3}
    assert found["second"]["heldout"]["reward"]["value"] == pytest.approx(0.4)
    assert found["second"]["bytes"] >= 2600
    assert found["second"]["model"] == "smollm2-135m-instruct"
    code, out, _ = run("runs")
    assert code == 0
    assert "rl 3, not finished" in out
    assert "try: homeground runs compare" in out


def test_a_single_interrupted_run_is_told_how_to_go_on(run, workspace):
    run("runs", "remove", "second", "--yes")
    assert "try: homeground rl --run first --resume" in run("runs")[1]


def test_a_comparison_shows_what_differs_and_pairs_the_same_tasks(run, workspace):
    found = document(run, "runs_compare", "runs", "compare", "first", "second")
    assert found["settings"] == {"rl.steps": [18, 30]}
    assert found["paired"]["second-first"]["reward"]["value"] == pytest.approx(0.1)
    assert found["unpaired"] == {}
    out = run("runs", "compare", "first", "second")[1]
    assert "rl.steps" in out
    assert "+0.100" in out


def test_runs_on_other_tasks_are_not_paired_and_it_is_said(run, workspace):
    make_run(workspace, "third", 18, [0.5, 0.5])
    found = document(run, "runs_compare", "runs", "compare", "first", "third")
    assert found["paired"] == {}
    assert "not evaluated on the same tasks" in found["unpaired"]["third"]


def test_a_run_is_removed_only_after_a_yes(run, workspace):
    code, out, err = run("runs", "remove", "first")
    assert (code, out) == (2, "")
    assert "nothing was deleted" in err
    assert "--yes" in err
    document(run, "runs_remove", "runs", "remove", "first", "--dry-run")
    assert workspace.run("first").path.is_dir()
    assert document(run, "runs_remove", "runs", "remove", "first", "--yes")["removed"] == ["first"]
    assert not workspace.run("first").path.exists()
    assert workspace.run("second").path.is_dir()


def test_a_run_that_a_process_writes_is_neither_removed_nor_cleaned(run, workspace):
    held = workspace.run("first").path / "tensorboard"
    script = f"import time; f = open({str(held)!r}, 'w'); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            code, _, err = run("runs", "remove", "first", "--yes")
            assert code == 1
            assert f"in use by process {child.pid}" in err
            run("clean", "--yes")
            assert (workspace.run("first").path / "masked-index").is_dir()
            assert not (workspace.run("second").path / "masked-index").exists()
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("runs", "compare", "first"), "wants two runs", "homeground runs"),
        (("runs", "remove"), "no run to remove was named", "homeground runs"),
        (("runs", "compare", "first", "thrid"), "there is no run 'thrid'", "runs here: first, second"),
        (("runs", "remove", "../runs"), "there is no run '../runs'", "runs here: first, second"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(run, workspace, arguments, message, hint):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert hint in err


def test_cleaning_keeps_adapters_and_what_an_unfinished_stage_needs(run, workspace):
    plan = document(run, "clean", "clean", "--dry-run")
    assert plan["freed_bytes"] == 0
    freed = sum(one["bytes"] for one in plan["items"])
    first, second = workspace.run("first"), workspace.run("second")
    done = document(run, "clean", "clean", "--yes")
    assert done["freed_bytes"] == freed == 3 * 1000 + 2 * 500
    assert not (first.checkpoints / "sft").exists()
    assert (first.checkpoints / "rl").is_dir()
    assert not (second.checkpoints / "rl").exists()
    assert (second.adapter / "adapter_model.safetensors").is_file()
    assert "nothing to free" in run("clean")[1]


def test_cleaning_converted_models_is_asked_for(run, workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "homeground" / "weights" / "a" / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"x" * 10)
    run("clean", "--yes")
    assert kept.exists()
    run("clean", "--models", "--yes")
    assert not kept.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("homeground ask --run se", ["second"]),
        ("homeground runs remove ", ["first", "second"]),
        ("homeground sft --recipe de", ["default", "demo"]),
        ("homeground sft --recipe mi", ["mine.yaml"]),
        ("homeground runs c", ["compare"]),
        ("homeground rollouts fi", ["first"]),
        ("homeground weights f", ["fetch"]),
        ("homeground weights smol", ["smollm2-135m-instruct"]),
        ("homeground cle", ["clean"]),
    ],
)
def test_the_shell_completes_verbs_runs_and_recipes(workspace, monkeypatch, capsys, words, expected):
    Path("mine.yaml").write_text("")
    monkeypatch.setenv("_HOMEGROUND_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out.split() == expected
