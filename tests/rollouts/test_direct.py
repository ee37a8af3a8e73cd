"""The direct source: rewards and agents in process, without a server."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch

from homeground import Reward
from homeground.base.errors import HomegroundError
from homeground.policy import TokenForest, chat
from homeground.rollouts import DirectSource, Failure, sampled_paths

TEMPERATURE = 0.8


def source(served, reward=None, **options):
    fields = {"max_tokens": 5, "seed": 3, "temperature": TEMPERATURE} | options
    return DirectSource(served.policy, served.sampler, reward, **fields)


def prompt_ids(served, messages):
    return chat.encode(served.policy.tokenizer, chat.prompt_text(served.policy.tokenizer, messages))


async def two_turns(task, client):
    """Asks, is answered, asks again with the answer in its history."""
    messages = [{"role": "user", "content": f"task {task}"}]
    for number in range(2):
        answer = await client.chat.completions.create(model="any", messages=messages, max_tokens=6, temperature=0.1)
        messages.append(answer.choices[0].message.model_dump())
        messages.append({"role": "user", "content": f"hits {number}"})
    return Reward(len(messages[1]["content"]) / 100, {"length": 0.5}, messages)


def test_prompts_are_texts_conversations_or_records(served):
    conversation = [{"role": "system", "content": "be terse"}, {"role": "user", "content": "a"}]
    tasks = ["a", conversation, {"prompt": "a", "gold": 1}, {"prompt": conversation, "gold": 2}]
    trajectories = source(served, lambda prompt, completion: 0.0).collect(tasks, 2, step=0)
    asked = [{"role": "user", "content": "a"}]
    expected = [asked, conversation, asked, conversation]
    assert [list(t.turns[0].prompt_ids) for t in trajectories[::2]] == [prompt_ids(served, m) for m in expected]


def test_a_reward_gets_the_fields_of_its_task_that_it_names(served):
    task = {"prompt": "a", "gold": 7, "level": "hard", "completion": "a column of that name"}
    seen = []

    def two(prompt, text):
        seen.append((prompt, text))
        return 1

    def named(prompt, completion, gold, *, level="easy"):
        seen.append((prompt, completion, gold, level))
        return gold

    def everything(prompt, completion, /, **row):
        seen.append((prompt, completion, row))
        return row["gold"]

    def all_but_its_own(prompt, completion, **row):
        seen.append((prompt, completion, row))
        return 0

    rewards = [
        source(served, f).collect([task], 1, step=0)[0].reward for f in (two, named, everything, all_but_its_own)
    ]
    assert rewards == [1.0, 7.0, 7.0, 0.0]
    fields = {"gold": 7, "level": "hard"}
    completion = seen[0][1]
    assert seen[1] == ("a", completion, 7, "hard")
    assert seen[2] == ("a", completion, fields)
    assert seen[3] == ("a", completion, fields)


def test_async_rewards_run_together(served):
    waiting = 0
    everyone = asyncio.Event()

    async def reward(prompt, completion):
        nonlocal waiting
        waiting += 1
        if waiting == 6:
            everyone.set()
        await asyncio.wait_for(everyone.wait(), 10)
        return float(len(completion))

    trajectories = source(served, reward).collect(["a", "b"], 3, step=0)
    assert [t.reward for t in trajectories] == [len(t.outcome) for t in trajectories]


def test_a_reward_that_raises_stops_the_run(served):
    def broken(prompt, completion):
        raise ZeroDivisionError("in the reward")

    with pytest.raises(ZeroDivisionError, match="in the reward"):
        source(served, broken).collect(["a"], 2, step=0)


def test_a_reward_may_be_a_number_of_any_library(served):
    for one in (np.float32(0.5), torch.tensor([0.5]), Fraction(1, 2)):
        (found,) = source(served, lambda prompt, completion, one=one: one).collect(["a"], 1, step=0)
        assert (found.reward, type(found.reward)) == (0.5, float)


def test_a_reward_function_may_give_named_parts(served):
    reward = lambda prompt, completion: Reward(0.5, {"brief": 1})  # noqa: E731
    (found,) = source(served, reward).collect(["a"], 1, step=0)
    assert (found.reward, found.parts) == (0.5, {"brief": 1.0})


@pytest.mark.parametrize("kind", ["plain", "async", "agent"])
def test_a_reward_that_is_no_number_names_its_function_and_the_task(served, kind):
    def plain(prompt, completion):
        return [1.0]

    async def waits(prompt, completion):
        return "high"

    async def agent(task, client):
        return Reward(None if task == "a" else "high")

    if kind == "agent":
        (found,) = source(served, agent=agent).collect(["b"], 1, step=0)
        assert (found.reward, found.failure) == (None, Failure.BAD_REWARD)
        assert "<locals>.agent' gave 'high', which is no finite number (the task 'b')" in found.error
        return
    function = plain if kind == "plain" else waits
    with pytest.raises(HomegroundError, match=f"the reward function '.*{function.__name__}' gave") as caught:
        source(served, function).collect([{"prompt": "a", "gold": 7}], 1, step=0)
    assert caught.value.where == "the task {'gold': 7, 'prompt': 'a'}"


@pytest.mark.parametrize(("task", "message"), [
    ({"question": "a"}, "a task has no prompt"),
    (7, "not int"),
    (["a", "b"], "not list"),
])  # fmt: skip
def test_a_task_without_a_prompt_is_refused(served, task, message):
    with pytest.raises(HomegroundError, match=message):
        source(served, lambda prompt, completion: 0.0).collect([task], 2, step=0)


def test_stop_strings_end_completions(served):
    free = source(served, lambda p, c: 0.0, max_tokens=30).collect(["a"], 6, step=0)
    stop = next(c for t in free for c in t.outcome[1:] if c.isascii() and c.isprintable())
    stopped = source(served, lambda p, c: 0.0, max_tokens=30, stop=[stop]).collect(["a"], 6, step=0)
    for before, after in zip(free, stopped, strict=True):
        n = len(after.turns[0].ids)
        assert list(after.turns[0].ids) == list(before.turns[0].ids)[:n]
        assert after.outcome == before.outcome.partition(stop)[0]
    assert any(len(a.turns[0].ids) < len(b.turns[0].ids) for a, b in zip(stopped, free, strict=True))


def test_it_wants_a_reward_or_an_agent(served):
    for options in ({}, {"reward": lambda p, c: 0.0, "agent": two_turns}):
        with pytest.raises(HomegroundError, match="either a reward or an agent"):
            source(served, **options)


def test_an_agent_s_turns_are_what_was_sampled(served):
    trajectories = source(served, agent=two_turns).collect(["a", "b", "c"], 2, step=0)
    assert [t.task for t in trajectories] == [0, 0, 1, 1, 2, 2]
    assert len({t.rollout_id for t in trajectories}) == 6
    tokenizer = served.policy.tokenizer
    for t in trajectories:
        assert t.error is None
        assert t.parts == {"length": 0.5}
        first, second = t.turns
        messages = t.outcome
        assert list(first.prompt_ids) == prompt_ids(served, messages[:1])
        assert tokenizer.decode(first.ids, skip_special_tokens=True) == messages[1]["content"]
        assert tokenizer.decode(second.ids, skip_special_tokens=True) == messages[3]["content"]
        assert t.reward == pytest.approx(len(messages[1]["content"]) / 100)


def test_an_agent_s_logprobs_are_the_policy_s_at_the_source_s_temperature(served):
    trajectories = source(served, agent=two_turns).collect(["a", "b"], 3, step=0)
    paths = [p for t in trajectories for p in sampled_paths(t.turns)]
    assert len(paths) == 6, "a second turn did not continue the first one's ids"
    with torch.no_grad():
        trainer = served.policy.logprobs(TokenForest.build([p.tokens for p in paths]), TEMPERATURE)
    assert (trainer - torch.tensor([lp for p in paths for lp in p.logprobs])).abs().max() < 1e-3


def test_an_agent_repeats_itself_whatever_the_order_of_its_calls(served):
    async def dawdles(task, client):
        await asyncio.sleep(0.001 * (hash((task, id(client))) % 7))
        return await two_turns(task, client)

    def ids(agent, step=0, **options):
        return [[tuple(t.ids) for t in x.turns] for x in source(served, agent=agent, **options).collect("ab", 3, step)]

    assert ids(two_turns) == ids(dawdles) == ids(two_turns, concurrency=1)
    assert ids(two_turns) != ids(two_turns, step=1)
    assert len(set(map(tuple, ids(two_turns)))) > 4


async def sometimes_fails(task, client):
    await client.chat.completions.create(messages=[{"role": "user", "content": "x"}], max_tokens=3)
    if task == "raises":
        raise ValueError("the tool broke")
    if task == "sleeps":
        await asyncio.sleep(30)
    if task == "nothing":
        return None
    return Reward(1.0)


def test_an_agent_that_fails_fails_its_own_rollout_only(served):
    tasks = ["good", "raises", "sleeps", "nothing"]
    good, raises, sleeps, nothing = source(served, agent=sometimes_fails, timeout_s=3).collect(tasks, 1, step=0)
    assert (good.reward, good.error) == (1.0, None)
    assert raises.error == "ValueError: the tool broke"
    assert sleeps.error == "no result after 3 s"
    assert "NoneType" in nothing.error
    assert raises.reward is sleeps.reward is nothing.reward is None
    assert len(raises.turns) == 1, "its turns are kept for the log"


def test_an_agent_may_ask_for_several_answers_and_stop_strings(served):
    async def agent(task, client):
        answer = await client.chat.completions.create(
            messages=[{"role": "user", "content": task}], n=3, max_tokens=8, stop="e", extra_body={"top_k": 50}
        )
        return Reward(0.0, outcome=answer)

    (t,) = source(served, agent=agent).collect(["a"], 1, step=0)
    assert len(t.outcome.choices) == len(t.turns) == 3
    assert all("e" not in c.message.content for c in t.outcome.choices)
    assert t.outcome.usage.completion_tokens == sum(len(turn.ids) for turn in t.turns)


@pytest.mark.parametrize(("options", "message"), [
    ({"tools": [{"type": "function"}]}, "tools.0: a tool is"),
    ({"frequency_penalty": 0.5}, "does not support frequency_penalty yet"),
    ({"temperature": "hot"}, "temperature: "),
    ({"stream": True}, "does not support stream yet"),
    ({"extra_body": {"best_of": 3}}, "does not support best_of yet"),
    ({"max_tokens": 500}, "exceed the context"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content: a message holds text"),
])  # fmt: skip
def test_what_the_local_client_cannot_do_is_refused_by_name(served, options, message):
    async def agent(task, client):
        await client.chat.completions.create(**{"messages": [{"role": "user", "content": "x"}]} | options)
        return Reward(0.0)

    (t,) = source(served, agent=agent).collect(["a"], 1, step=0)
    assert message in t.error
    assert not t.turns


def test_a_call_that_an_agent_gives_up_is_cancelled(served):
    async def agent(task, client):
        call = client.chat.completions.create(messages=[{"role": "user", "content": "x"}], max_tokens=180)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.02)
        return Reward(0.0)

    before = served.sampler.sampled_tokens
    with served.compute:
        thread = threading.Thread(target=lambda: source(served, agent=agent).collect(["a"], 1, step=0))
        thread.start()
        thread.join(20)
    served.sampler.submit([1], 1).result(timeout=20)
    assert served.sampler.sampled_tokens - before < 20


def test_it_works_where_an_event_loop_runs_already(served):
    async def notebook():
        return source(served, agent=two_turns).collect(["a"], 2, step=0)

    assert asyncio.run(notebook()) == source(served, agent=two_turns).collect(["a"], 2, step=0)


def test_a_reward_function_needs_nothing_that_speaks_http(llama):
    script = f"""
        import sys
        blocked = ["httpx", "openai", "fastapi", "uvicorn", "starlette", "agentlightning", "chromadb",
                   "sentence_transformers", "psutil"]
        for name in blocked:
            sys.modules[name] = None
        import torch
        torch.set_num_threads(1)
        from homeground.policy import LoraConfig, ModelConfig, Policy
        from homeground.rollouts import DirectSource, Sampler
        settings = ModelConfig(name={str(llama)!r}, quantization="none", compute_dtype="fp32", lora=LoraConfig(r=4))
        policy = Policy.load(settings)
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            source = DirectSource(policy, sampler, lambda p, c: 1.0)
            assert len(source.collect(["a"], 2, step=0)[1].turns) == 1
        try:
            from homeground.rollouts import ModelServer
        except ImportError as error:
            print("refused", error.name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")
