"""Which traces a recipe mixes into groups."""

import json
from types import SimpleNamespace

import pytest

from homeground.base.errors import RecipeError, UsageError
from homeground.pipeline.experts import expert_traces
from homeground.recipe import Recipe, load_recipe
from homeground.tasks import LookupTask

TASK = LookupTask("t1", "Which function adds?", "a.py::add", "a.py", "add", "train")


def bench(search=None, **rl):
    return SimpleNamespace(recipe=Recipe.model_validate({"rl": rl}), search=search)


def test_a_recipe_without_traces_has_no_experts():
    assert expert_traces(bench(), [TASK]) is None


def test_a_file_s_traces_are_those_of_the_tasks(tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps({"task": "t1", "messages": [{"role": "assistant", "content": "1"}]}))
    experts = expert_traces(bench(luffy={"traces": str(file)}), [TASK])
    assert [trace.messages[-1]["content"] for trace in experts(TASK)] == ["1"]


def test_the_script_shows_the_look_up_agent_with_the_reward_that_it_earns():
    asked = []

    def search(query, k):
        asked.append(query)
        return []

    experts = expert_traces(bench(search, luffy={"traces": "scripted"}), [TASK])
    (trace,) = experts(TASK)
    assert asked == [TASK.question]
    assert [m["role"] for m in trace.messages][-1] == "assistant"
    assert 0 <= trace.reward < 1, "it found nothing"


def test_the_script_is_no_expert_for_another_agent():
    with pytest.raises(UsageError, match="conversations of the look-up agent that ships") as caught:
        expert_traces(bench(luffy={"traces": "scripted"}), [{"id": "t1"}])
    assert caught.value.where == "rl.luffy.traces"


def test_the_recipe_s_settings_reach_the_trainer():
    recipe = Recipe.model_validate(
        {
            "rl": {
                "luffy": {"per_group": 2, "gamma": 0.2},
                "exgrpo": {"share": 0.5, "gamma": 0.3, "start": 0.1, "success": 0.9},
                "asynchronous": True,
                "importance_cap": 2.0,
            }
        }
    )
    settings = recipe.rl
    assert (settings.luffy.per_group, settings.luffy.gamma, settings.asynchronous) == (2, 0.2, True)
    replay = settings.exgrpo
    assert (replay.share, replay.gamma, replay.start, replay.success) == (0.5, 0.3, 0.1, 0.9)


def test_asynchronous_rollouts_want_their_correction(tmp_path):
    file = tmp_path / "ahead.yaml"
    file.write_text("rl: {asynchronous: true}")
    with pytest.raises(RecipeError, match="one step off-policy: set importance_cap above 0"):
        load_recipe(file)
