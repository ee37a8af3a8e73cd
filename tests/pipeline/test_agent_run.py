"""`homeground rl run` and `rl init` from the command line, through a real gateway, on a tiny random model."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from homeground.cli import main

from ..policy import tiny

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
RECIPE = """
model: {{name: {model}, quantization: none, compute_dtype: fp32, lora: {{r: 4, alpha: 8}}}}
rl: {{steps: 2, tasks_per_step: 2, group_size: 4, learning_rate: 1e-2, checkpoint_every: 1, forest_tokens: 512}}
eval: {{tasks: 4, bootstrap: 100}}
"""
# Random weights say random bytes: any letter e is a thing to learn.
REWARD = """
def letters(task, answer):
    return answer.count(task["letter"]) / (1 + len(answer))
"""
AGENT = """
async def agent(task, client):
    messages = [{"role": "user", "content": "Write " + task["letter"]}]
    done = await client.chat.completions.create(model="any", messages=messages, max_tokens=6)
    return done.choices[0].message.content
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = tiny.build(folder / "llama", tiny.llama_config(max_position_embeddings=512))
    (folder / "tiny.yaml").write_text(RECIPE.format(model=model))
    return folder / "tiny.yaml"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command line in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def own(tmp_path):
    """An agent, its tasks and its reward, and the options that name them."""
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "reward.py").write_text(REWARD)
    rows = [{"letter": letter} for letter in "abcdefghijklmnop"]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["rl", "run", "--agent", "agent.py:agent", "--tasks", "tasks.jsonl", "--reward", "reward.py:letters"]


def test_an_agent_of_ones_own_is_measured_trained_and_measured_again(run, own, recipe, tmp_path):
    code, out, err = run(*own, "--recipe", recipe, "--run", "mine", "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, json.loads((SCHEMAS / "agent_run.json").read_text()))
    results = document["results"]
    assert results["train_tasks"] + results["heldout_tasks"] == 16 or results["heldout_tasks"] == 4
    assert list(results["seconds"]) == ["eval before", "rl", "eval after"]
    folder = tmp_path / ".homeground" / "runs" / "mine"
    assert json.loads((folder / "results.json").read_text()) == results
    assert (folder / "adapter" / "adapter_config.json").is_file()
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [step["rollouts"] for step in steps] == [8, 8]
    assert all(step["failed"] == 0 and "reward/letters" in step for step in steps)
    answers = [json.loads(line) for line in (folder / "evaluations" / "after-answers.jsonl").read_text().splitlines()]
    assert {row["error"] for row in answers} == {None}
    report = (folder / "report.html").read_text()
    assert "after minus before" in report
    assert "What training tried" in report
    assert f"{results['paired']['letters']['value']:+.3f}" in report

    code, _, err = run(*own, "--recipe", recipe, "--run", "mine")
    assert code == 2
    assert "has finished 'rl' already" in err
    code, out, err = run("rl", "run", "--run", "mine", "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["results"]["paired"] == results["paired"], "what was finished is not done again"

    code, out, err = run("rollouts", "mine")
    assert code == 0, err
    code, _, err = run("eval", "agent", "--run", "mine")
    assert code == 2
    assert "which `rl run` has measured itself" in err


# In the form of Agent Lightning's own examples, with the standard library: theirs takes a second to import its client.
CHAT_AGENT = """
import asyncio
import json
import os
import urllib.request

LETTER = os.environ["LETTER"]


def post(url, body):
    headers = {"Authorization": "Bearer " + os.environ["AGL_KEY"], "Content-Type": "application/json"}
    return json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)))


def ask():
    message = {"role": "user", "content": "Write " + os.environ["LETTER"] + os.environ["MORE"]}
    body = {"model": "auto", "messages": [message], "temperature": 1.0, "max_tokens": 6}
    answer = post(os.environ["AGL_OPENAI_BASE_URL"] + "/chat/completions", body)
    return answer["choices"][0]["message"]["content"] or ""


def post_reward(value):
    post(os.environ["AGL_EVENT_URL"], {"event_type": "reward", "data": {"value": value}})


class ChatAgent:
    async def run(self) -> None:
        text = await asyncio.to_thread(ask)
        post_reward(99.0)
        post_reward(text.count(LETTER) / (1 + len(text)))


class Silent:
    def run(self) -> None:
        ask()
"""


@pytest.fixture
def lightning(own, tmp_path):
    (tmp_path / "gsm8k_agent.py").write_text(CHAT_AGENT)
    rows = [{"letter": letter, "more": [1, {"é": None}]} for letter in "abcdefghijklmnop"]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def options(name):
        return ["rl", "run", "--agent", f"gsm8k_agent.py:{name}", "--runner", "process", "--tasks", "tasks.jsonl"]

    return options


def test_an_agent_of_agent_lightnings_is_trained_unchanged(run, lightning, recipe, tmp_path):
    (tmp_path / "small.yaml").write_text(recipe.read_text().replace("tasks_per_step: 2", "tasks_per_step: 1"))
    code, out, err = run(*lightning("ChatAgent"), "--recipe", tmp_path / "small.yaml", "--run", "theirs", "--json")
    assert code == 0, err
    results = json.loads(out)["results"]
    jsonschema.validate(json.loads(out), json.loads((SCHEMAS / "agent_run.json").read_text()))
    folder = tmp_path / ".homeground" / "runs" / "theirs"
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(step["rollouts"], step["failed"]) for step in steps] == [(4, 0), (4, 0)]
    assert list(results["paired"]) == ["reward"]
    answers = [json.loads(line) for line in (folder / "evaluations" / "after-answers.jsonl").read_text().splitlines()]
    assert {row["error"] for row in answers} == {None}
    assert all(0 <= row["reward"] < 1 for row in answers), "the last event counts"
    code, out, err = run("rollouts", "theirs", "--json")
    assert code == 0, err
    assert "[1, {" in out, "a field that is no text is JSON"


def test_an_agent_that_posts_no_reward_is_told_where_one_may_come_from(run, lightning, recipe):
    code, _, err = run(*lightning("Silent"), "--recipe", recipe, "--run", "missing")
    assert code == 1
    assert (
        "there is no reward: no function gives one (--reward), and within 0 s of its end the agent posted no event "
        in err
    )


def test_what_the_device_cannot_do_is_refused_before_anything_is_measured(run, own, recipe, tmp_path):
    text = recipe.read_text().replace("rl: {", "rl: {asynchronous: true, importance_cap: 2.0, ")
    (tmp_path / "ahead.yaml").write_text(text.replace("{name:", "{device: cpu, name:"))
    code, _, err = run(*own, "--recipe", tmp_path / "ahead.yaml", "--run", "refused")
    assert code == 1
    assert "sampler and trainer would share the CPU" in " ".join(err.split())
    assert not (tmp_path / ".homeground" / "runs" / "refused" / "evaluations").exists()


def test_a_recipe_of_other_folders_than_the_workspace_indexes_is_refused(run, own, recipe, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "rain.md").write_text("Rain is water that falls.\n")
    assert run("index", "notes")[0] == 0
    (tmp_path / "agent.py").write_text(AGENT.replace("client)", "client, search)"))
    settings = recipe.read_text() + "corpus: {roots: [elsewhere]}\nagent: {search: true}\n"
    (tmp_path / "searching.yaml").write_text(settings)
    code, _, err = run(*own, "--recipe", tmp_path / "searching.yaml")
    assert code == 1
    assert f"already indexes {tmp_path / 'notes'}" in " ".join(err.split())
    assert "--home" in err


def test_the_skeleton_is_written_once_and_runs(run, recipe, tmp_path, monkeypatch):
    code, out, _ = run("rl", "init", "mine")
    assert code == 0
    files = {path.name for path in (tmp_path / "mine").iterdir()}
    assert files == {"agent.py", "reward.py", "tasks.jsonl"}
    command = out.splitlines()[-1].partition("&& homeground ")[2].split()
    code, _, err = run("rl", "init", "mine")
    assert code == 2
    assert "agent.py, reward.py, tasks.jsonl would be overwritten" in err
    monkeypatch.chdir(tmp_path / "mine")
    code, out, err = run(*command, "--recipe", recipe, "--run", "first")
    assert code == 0, err
    assert "held-out tasks, paired" in out
    assert "seed 0;" in out


PROGRAM = """
import json, os, urllib.request

def agent(task):
    assert "TRAINER_SECRET" not in os.environ
    assert os.environ["COLOUR"] == "blue"
    print("this is no answer")
    body = {"model": "any", "max_tokens": 6, "messages": [{"role": "user", "content": "Write " + task["letter"]}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
        {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as done:
        return json.load(done)["choices"][0]["message"]["content"]
"""


def test_an_agent_in_an_interpreter_of_its_own_is_trained_too(run, own, recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_SECRET", "swordfish")
    (tmp_path / "agent.py").write_text(PROGRAM)
    # Each rollout starts a process of the controller's first, which takes a second.
    settings = recipe.read_text() + "agent: {runner: process, env: {COLOUR: blue}}\n"
    for much, little in (
        ("steps: 2", "steps: 1"),
        ("per_step: 2", "per_step: 1"),
        ("size: 4", "size: 2"),
        ("s: 4", "s: 2"),
    ):
        settings = settings.replace(much, little)
    (tmp_path / "process.yaml").write_text(settings)
    interpreter = str(Path(sys.base_prefix) / "bin" / "python3")
    code, out, err = run(*own, "--recipe", tmp_path / "process.yaml", "--python", interpreter, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert set(document["results"]["paired"]) == {"reward", "letters"}
    step = json.loads(Path(document["adapter"]).with_name("metrics.jsonl").read_text())
    assert (step["rollouts"], step["failed"]) == (2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["rl", "run"], "nothing says which agent and tasks and reward to train with"),
        (["rl", "run", "--agent", "agent.py:agent"], "nothing says which tasks and reward"),
        (["rl", "--agent", "agent.py:agent"], "--agent is not of `rl lookup`"),
        (["rl", "init", "x", "--reward", "r.py:r"], "--reward is not of `rl init`"),
        (["rl", "run", "folder"], "FOLDER is not of `rl run`"),
    ],
)
def test_a_command_that_says_too_little_or_too_much_is_refused(run, own, change, message):
    code, _, err = run(*change)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("code_", ["def agent(task, client): pass", "async def agent(task): pass"])
def test_an_agent_that_cannot_run_inline_is_told_how_it_can(run, own, tmp_path, code_):
    (tmp_path / "agent.py").write_text(code_)
    code, _, err = run(*own)
    assert code == 2
    assert "an async function of (task, client)" in err
    assert "--runner process" in err


def test_a_search_is_given_to_whoever_takes_one(run, own, tmp_path):
    (tmp_path / "search.yaml").write_text("agent: {search: true}")
    code, _, err = run(*own, "--recipe", tmp_path / "search.yaml")
    assert code == 2
    assert "a search that it does not take" in err
    (tmp_path / "agent.py").write_text("async def agent(task, client, search): pass")
    code, _, err = run(*own)
    assert code == 2
    assert "a search that the recipe does not give it" in err


def test_an_agent_that_always_fails_stops_the_run_with_its_reason(run, own, recipe, tmp_path):
    (tmp_path / "agent.py").write_text("async def agent(task, client):\n    raise RuntimeError('no ideas')\n")
    code, _, err = run(*own, "--recipe", recipe)
    assert code == 1
    assert "held-out rollouts failed: RuntimeError: no ideas" in err


def test_a_dry_run_reads_everything_and_changes_nothing(run, own, tmp_path):
    code, out, _ = run(*own, "--dry-run")
    assert code == 0
    assert "would run 25 steps of GRPO on" in out
    assert not (tmp_path / ".homeground").exists()
