from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from homeground.base.files import read_jsonl
from homeground.corpus import stdlib_root
from homeground.evaluate import load_outcomes, read_metrics
from homeground.tasks import TaskSet
from tests.small_demo import PACKAGES, SmallDemo, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_killed_run_goes_on_from_the_last_finished_stage(small_demo: SmallDemo) -> None:
    assert {"index", "tasks", "eval scripted", "eval base", "sft"} <= small_demo.killed_after
    assert "rl" not in small_demo.killed_after
    assert "sft: finished before" in small_demo.output
    assert "eval rl" in json.loads((small_demo.run / "state.json").read_text())


def test_every_stage_leaves_outcomes_of_the_same_heldout_tasks(small_demo: SmallDemo) -> None:
    expected = {task.id for task in TaskSet.load(small_demo.run / "tasks.jsonl").heldout}
    for stage in ("scripted", "base", "sft", "rl"):
        assert {o.task for o in load_outcomes(small_demo.run / "evaluations" / f"{stage}.jsonl")} == expected


def test_metrics_hold_every_stage_with_seconds_and_memory(small_demo: SmallDemo) -> None:
    metrics = read_metrics(small_demo.run / "metrics.json")
    assert set(metrics["stages"]) == {"scripted", "base", "sft", "rl"}
    assert set(metrics["paired"]) == {"sft-base", "rl-sft"}
    assert metrics["seconds"].keys() == metrics["peak_memory_mb"].keys()
    assert all(mb > 100 for mb in metrics["peak_memory_mb"].values())


def test_scripted_agent_is_always_well_formed(small_demo: SmallDemo) -> None:
    metrics = read_metrics(small_demo.run / "metrics.json")
    assert metrics["stages"]["scripted"]["well_formed"]["value"] == 1.0


def test_training_is_logged_once_a_step_and_starts_at_the_reference(small_demo: SmallDemo) -> None:
    rows = read_jsonl(small_demo.run / "metrics.jsonl")
    steps = [row for row in rows if row["stage"] == "rl"]
    assert [row["step"] for row in steps] == [1, 2]
    assert [row["step"] for row in rows if row["stage"] == "sft"] == [1, 2]
    assert steps[0]["kl"] == 0.0
    assert steps[0]["rollouts"] == 12
    assert steps[0]["failed"] == 0
    assert steps[0]["new_paths"] == 0
    assert all(row["weight_change"] > 0 for row in rows)


def test_rl_moved_the_adapter_away_from_that_of_sft(small_demo: SmallDemo) -> None:
    sft = load_file(small_demo.run / "adapter-sft" / "adapter_model.safetensors")
    rl = load_file(small_demo.run / "adapter" / "adapter_model.safetensors")
    assert sft.keys() == rl.keys()
    assert any(not sft[name].equal(rl[name]) for name in sft)


def test_report_is_one_self_contained_page(small_demo: SmallDemo) -> None:
    page = (small_demo.run / "report.html").read_text()
    assert "<svg" in page
    assert 'src="http' not in page
    assert (small_demo.run / "report.png").stat().st_size > 10_000


def test_ask_answers_with_citations_that_exist(small_demo: SmallDemo) -> None:
    done = small_demo.homeground("ask", "how is an HTTP response status line parsed?", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["found"]
    for citation in answer["citations"]:
        assert citation["path"].partition("/")[0] in PACKAGES
        lines = len((stdlib_root() / citation["path"]).read_text().splitlines())
        assert 1 <= citation["start"] <= citation["end"] <= lines


def test_search_lists_hits_as_json(small_demo: SmallDemo) -> None:
    done = small_demo.homeground("search", "parse an HTTP date", "--json")
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)["hits"]
    assert {"path", "start", "end", "symbol", "kind", "language", "score", "scores", "text"} <= hits[0].keys()


def test_eval_measures_nothing_twice(small_demo: SmallDemo) -> None:
    done = small_demo.homeground("eval", "agent", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing new" in done.stdout


def test_ctrl_c_during_rl_ends_with_130_a_resume_command_and_no_gateway_left(
    small_demo: SmallDemo, tmp_path: Path
) -> None:
    recipe = tmp_path / "longer.yaml"
    recipe.write_text(small_demo.recipe.read_text().replace("steps: 2,", "steps: 50,"))
    command = [sys.executable, "-m", "homeground", "rl", "--resume", "--run", "demo", "--recipe", str(recipe)]
    running = subprocess.Popen(command, env=environment(small_demo.home), stderr=subprocess.PIPE, text=True)
    gateway = None
    deadline = time.monotonic() + 120
    while gateway is None and running.poll() is None and time.monotonic() < deadline:
        children = psutil.Process(running.pid).children(recursive=True)
        gateway = next((child for child in children if "agl-server" in " ".join(child.cmdline())), None)
        time.sleep(0.2)
    assert gateway is not None
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=240)  # it ends the step that it is in
    assert running.returncode == 130, errors
    assert "--resume" in errors
    assert not gateway.is_running() or gateway.status() == psutil.STATUS_ZOMBIE
    assert (small_demo.run / "adapter" / "adapter_model.safetensors").is_file()


def test_demo_refuses_a_workspace_that_indexes_other_folders(small_demo: SmallDemo) -> None:
    done = small_demo.homeground("demo", "--run", "other")
    assert done.returncode == 1
    assert "already indexes" in done.stderr
    assert "--home" in done.stderr


@pytest.mark.parametrize("words", [["demo"], ["sft"], ["rl"]])
def test_starting_over_never_loses_a_finished_run(small_demo: SmallDemo, words: list[str]) -> None:
    done = small_demo.homeground(*words, "--run", "demo", "--recipe", str(small_demo.recipe))
    assert done.returncode == 2
    assert "already" in done.stderr
    assert "--resume" in done.stderr


def test_resume_with_another_recipe_is_refused(small_demo: SmallDemo) -> None:
    done = small_demo.homeground("demo", "--resume", "--recipe", str(small_demo.recipe), "--seed", "7")
    assert done.returncode == 1
    assert "another recipe" in done.stderr
