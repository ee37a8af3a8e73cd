import asyncio

import pytest

from homeground.agents import AgentConfig
from homeground.base.errors import RecipeError, UsageError
from homeground.base.progress import Progress
from homeground.pipeline import agent_run
from homeground.pipeline.own_agent import own_agent
from homeground.pipeline.workbench import Workbench
from homeground.recipe import Recipe, load_recipe
from homeground.runs.workspace import open_workspace


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agent.py").write_text("async def agent(task, client):\n    return 'x'\n")
    (tmp_path / "tasks.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(40)))
    (tmp_path / "one.py").write_text(
        "def reward(task, answer):\n    return 1\ndef other(task, answer):\n    return 2\n"
    )
    (tmp_path / "two.py").write_text("def reward(task, answer):\n    return 3\n")


def section(*rewards, **fields):
    terms = [{"reward": reward, "weight": weight} for reward, weight in rewards]
    return AgentConfig(**{"code": "agent.py:agent", "tasks": "tasks.jsonl", "rewards": terms, **fields})


def judged(found):
    return asyncio.run(found.reward({"n": 1}, "x"))


def test_rewards_of_a_recipe_are_weighted_and_named(files):
    found = judged(own_agent(section(("one.py:reward", 1.0), ("one.py:other", 0.5))))
    assert (found.value, found.parts) == (2.0, {"reward": 1.0, "other": 2.0})


def test_two_rewards_of_one_name_are_told_apart_by_their_files(files):
    found = judged(own_agent(section(("one.py:reward", 1.0), ("two.py:reward", -1.0))))
    assert (found.value, found.parts) == (-2.0, {"one.py:reward": 1.0, "two.py:reward": 3.0})


def test_only_an_agent_in_a_process_may_come_without_a_reward(files):
    assert own_agent(section(runner="process")).reward is None
    with pytest.raises(UsageError, match="nothing says which reward to train with") as caught:
        own_agent(section())
    assert "--reward reward.py:reward" in caught.value.hint


def test_heldout_tasks_come_from_their_file_or_from_a_share(files, tmp_path):
    shared = own_agent(section(("one.py:reward", 1.0)))
    assert len(shared.train) + len(shared.heldout) == 40
    (tmp_path / "held.jsonl").write_text('{"n": 100}\n{"n": 101}\n')
    named = own_agent(section(("one.py:reward", 1.0), heldout="held.jsonl"))
    assert (len(named.train), len(named.heldout)) == (40, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agent: {python: /usr/bin/python3}", "set runner to 'process'"),
        ("agent: {tasks: lookup, heldout: held.jsonl}", "look-up tasks have held-out ones of their own"),
        ("agent: {rewards: [{reward: a.py:b}, {reward: a.py:b}]}", "named twice"),
        ("agent: {rewards: [{weight: 2.0}]}", "'agent.rewards.0.reward' is missing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "recipe.yaml")


def test_look_up_tasks_that_an_interruption_left_half_made_are_made_again(tmp_path, monkeypatch):
    workspace = open_workspace(tmp_path / "home")
    workspace.index.mkdir()
    recipe = Recipe(agent=section(("one.py:reward", 1.0), tasks="lookup"))
    made = []
    monkeypatch.setattr(agent_run.stages, "make_tasks", made.append)
    with Workbench(recipe, workspace, workspace.run("mine").create(), Progress(quiet=True)) as bench:
        bench.tasks_file.write_text("{}\n")
        agent_run._index(bench)
        agent_run._index(bench)
    assert len(made) == 1
