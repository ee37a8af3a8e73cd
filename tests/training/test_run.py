import json
import subprocess
import sys

import pytest
import torch

import homeground
from homeground import GrpoConfig, train_grpo
from homeground.base.errors import UsageError

from ..exact.families import FAMILIES
from ..policy import tiny

PROMPTS = ["a", "b", "c"]
CONFIG = GrpoConfig(steps=2, tasks_per_step=2, group_size=3, checkpoint_every=1)
SMALL = {"config": CONFIG, "max_tokens": 4, "quiet": True}
ONE_STEP, FOUR_STEPS = (SMALL | {"config": CONFIG.model_copy(update={"steps": steps})} for steps in (1, 4))


def vowels(prompt, completion):
    return sum(completion.count(v) for v in "aeiou") / (1 + len(completion))


@pytest.fixture
def fresh(llama):
    def make():
        return tiny.policy_of(llama, shaken=False)

    return make


def test_prompts_and_a_reward_are_all_it_takes(fresh, tmp_path):
    policy = fresh()
    before = policy.adapter_state()
    run = train_grpo(policy, PROMPTS, vowels, folder=tmp_path / "run", **SMALL)
    assert [step["step"] for step in run.history] == [1, 2]
    assert all(step["logprob_gap"] < 1e-4 for step in run.history)
    after = policy.adapter_state()
    assert any(not torch.equal(before[n], after[n]) for n in before)
    saved = tiny.policy_of(policy.name, shaken=False, adapter=run.adapter).adapter_state()
    assert all(torch.equal(saved[n], after[n]) for n in after)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == run.history


@pytest.mark.filterwarnings("ignore::homeground.policy.strategy.StrategyWarning", "ignore:.*sampled one row at a time")
@pytest.mark.parametrize("name", ["Falcon, whose attention is its own", "GPT-2, whose linear layers are transposed"])
def test_models_without_the_attention_interface_or_linear_layers_train(name, tmp_path):
    """Their positions end before ``forest_tokens``, which the rehearsal must heed."""
    folder = tiny.build(tmp_path / "model", FAMILIES[name].config)
    policy = tiny.policy_of(folder, shaken=False)
    run = train_grpo(policy, PROMPTS, vowels, folder=tmp_path / "run", **SMALL)
    assert all(step["logprob_gap"] < 1e-3 for step in run.history)
    assert run.history[-1]["weight_change"] > 0


def test_the_curves_are_in_tensorboard(fresh, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train_grpo(fresh(), PROMPTS, vowels, folder=tmp_path / "run", **SMALL)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    seen = events.Scalars("rl/reward_mean")
    assert [e.step for e in seen] == [1, 2]
    assert [e.value for e in seen] == pytest.approx([step["reward_mean"] for step in run.history])


def test_an_agent_may_take_the_reward_s_place(fresh, tmp_path):
    from homeground import Reward

    async def agent(task, client):
        messages = [{"role": "user", "content": task}]
        first = await client.chat.completions.create(model="policy", messages=messages, max_tokens=3)
        messages += [{"role": "assistant", "content": first.choices[0].message.content or ""}]
        messages += [{"role": "user", "content": "and?"}]
        second = await client.chat.completions.create(model="policy", messages=messages, max_tokens=3)
        return Reward(vowels(task, second.choices[0].message.content or ""))

    run = train_grpo(fresh(), PROMPTS, agent=agent, folder=tmp_path / "run", **SMALL)
    assert all(step["failed"] == 0 for step in run.history)
    assert all(step["logprob_gap"] < 1e-4 for step in run.history)


def test_a_finished_folder_is_not_overwritten_and_can_be_gone_on_with(fresh, tmp_path):
    folder = tmp_path / "run"
    train_grpo(fresh(), PROMPTS, vowels, folder=folder, **SMALL)
    with pytest.raises(UsageError, match="holds a run already") as caught:
        train_grpo(fresh(), PROMPTS, vowels, folder=folder, **SMALL)
    assert "resume=True" in caught.value.hint
    run = train_grpo(
        fresh(),
        PROMPTS,
        vowels,
        folder=folder,
        resume=True,
        **FOUR_STEPS,
    )
    assert [step["step"] for step in run.history] == [3, 4]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_the_same_call_gives_the_same_bits_in_deterministic_mode(fresh, tmp_path):
    def adapter(name):
        policy = fresh()
        train_grpo(policy, PROMPTS, vowels, folder=tmp_path / name, deterministic=True, **SMALL)
        return policy.adapter_state()

    one, other = adapter("one"), adapter("other")
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_runs_go_to_the_workspace_when_no_folder_is_named(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("HOMEGROUND_HOME", str(tmp_path / "home"))
    names = [train_grpo(fresh(), PROMPTS, vowels, **ONE_STEP).folder.name for _ in range(2)]
    assert names == ["grpo-1", "grpo-2"]


def test_a_table_shows_each_step(fresh, tmp_path, capsys):
    train_grpo(fresh(), PROMPTS, vowels, folder=tmp_path / "run", **(SMALL | {"quiet": False}))
    lines = capsys.readouterr().err.splitlines()
    heads = next(line for line in lines if "reward" in line and "KL" in line).split()
    rows = [line.split() for line in lines if line.split()[:1] in (["1"], ["2"])]
    assert heads[:2] == ["step", "reward"]
    assert len(rows) == 2
    assert "adapter of" in lines[0]


@pytest.mark.parametrize(("arguments", "message"), [
    ({}, "wants a reward or an agent"),
    ({"reward": vowels, "agent": vowels}, "wants a reward or an agent"),
])  # fmt: skip
def test_mistakes_get_an_answer(policy, arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        train_grpo(policy, PROMPTS, **arguments)
    assert caught.value.hint


def test_no_tasks_get_an_answer(policy):
    with pytest.raises(UsageError, match="no tasks"):
        train_grpo(policy, [], vowels)


def test_unknown_names_are_unknown():
    with pytest.raises(AttributeError, match="train_ppo"):
        _ = homeground.train_ppo


def test_training_imports_on_a_bare_gpu_box():
    """Only torch, transformers, peft, lightning and bitsandbytes, and what they bring, are there."""
    code = """
import sys
for name in ("agentlightning", "bm25s", "chromadb", "fastapi", "gguf", "openai", "sentence_transformers", "starlette",
             "tree_sitter", "uvicorn"):
    sys.modules[name] = None
from homeground import Policy, train_dpo, train_grpo, train_sft
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
