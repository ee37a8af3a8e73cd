"""Rollouts by both sources: in process, and through a real Agent Lightning gateway."""

import asyncio
import os
import random
import signal
import time

import httpx
import openai
import pytest
import torch

from homeground import Reward
from homeground.base.errors import HomegroundError
from homeground.policy import TokenForest, chat
from homeground.rollouts import (
    DirectSource,
    Failure,
    Gateway,
    GatewayClient,
    GatewaySource,
    ModelServer,
    Sampler,
    run_agents,
    sampled_paths,
)
from homeground.rollouts.gateway import RolloutState
from homeground.rollouts.lifecycle import counters

from ..policy import tiny

TEMPERATURE = 0.8


async def two_turns(task, client):
    """Asks, is answered, asks again with the answer in its history."""
    messages = [{"role": "user", "content": f"task {task}"}]
    for number in range(2):
        answer = await client.chat.completions.create(model="policy", messages=messages, max_tokens=6)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        messages.append({"role": "user", "content": f"hits {number}"})
    return Reward(len(messages[1]["content"]) / 100, {"length": 0.5}, messages)


@pytest.fixture(scope="module")
def gateway():
    with Gateway(train_temperature=TEMPERATURE) as gateway:
        yield gateway


@pytest.fixture
def source_of(gateway, served):
    def make(agent, **options):
        return GatewaySource(gateway, served.server, agent, **options)

    return make


def test_ids_that_come_back_through_the_gateway_are_the_ids_that_were_sampled(source_of, served):
    with source_of(two_turns, describe=lambda task: {"data_id": task}) as source:
        trajectories = source.collect(["a", "b", "c"], 2, step=0)
    assert [t.task for t in trajectories] == [0, 0, 1, 1, 2, 2]
    assert len({t.rollout_id for t in trajectories}) == 6
    tokenizer = served.policy.tokenizer
    for t in trajectories:
        assert t.error is None
        assert t.parts == {"length": 0.5}
        assert len(t.turns) == 2
        first, second = t.turns
        messages = t.outcome
        assert list(first.prompt_ids) == chat.encode(tokenizer, chat.prompt_text(tokenizer, messages[:1]))
        assert tokenizer.decode(first.ids, skip_special_tokens=True) == messages[1]["content"]
        assert tokenizer.decode(second.ids, skip_special_tokens=True) == messages[3]["content"]
        assert t.reward == pytest.approx(len(messages[1]["content"]) / 100)


def test_trained_logprobs_are_the_sampled_ones_at_the_gateway_s_temperature(source_of, served):
    with source_of(two_turns) as source:
        trajectories = source.collect(["a", "b"], 3, step=0)
    paths = [p for t in trajectories for p in sampled_paths(t.turns)]
    assert len(paths) == 6, "a second turn did not continue the first one's ids"
    forest = TokenForest.build([p.tokens for p in paths])
    with torch.no_grad():
        trainer = served.policy.logprobs(forest, TEMPERATURE)
    sampled = torch.tensor([lp for p in paths for lp in p.logprobs])
    assert (trainer - sampled).abs().max() < 1e-3
    assert len({tuple(t.turns[0].ids) for t in trajectories}) > 3, "siblings must differ"


def test_a_rollout_s_record_is_deleted_when_it_has_been_read(source_of, gateway):
    with source_of(two_turns) as source:
        (first, _) = source.collect(["a"], 2, step=0)
    headers = {"Authorization": f"Bearer {gateway.key}"}
    assert httpx.get(f"{gateway.url}/api/rollouts/{first.rollout_id}/events", headers=headers).status_code == 404


def test_turns_carry_the_version_of_the_weights_that_sampled_them(llama):
    policy = tiny.policy_of(llama)
    with (
        Gateway() as gateway,
        Sampler(policy, rows=4, cache_mb=1) as sampler,
        ModelServer(sampler, policy.tokenizer) as server,
        GatewaySource(gateway, server, two_turns) as source,
    ):
        before = source.collect(["a"], 2, step=0)
        assert source.publish() == 1
        after = source.collect(["a"], 2, step=1)
    assert {turn.weights_version for t in before for turn in t.turns} == {0}
    assert {turn.weights_version for t in after for turn in t.turns} == {1}


async def two_turns_of_sorts(task, client):
    """The same agent, dawdling, through a copy of its client."""
    await asyncio.sleep(random.random() * 0.05)
    return await two_turns(task, client.with_options(timeout=30))


def test_seeds_follow_the_rollout_and_not_the_order_of_arrival(gateway, llama):
    """Siblings send the same bodies at any time; what each samples is decided by who it is."""
    policy = tiny.policy_of(llama)

    def turns(agent, concurrency, **options):
        with (
            Sampler(policy, rows=16, cache_mb=4, deterministic=True) as sampler,
            ModelServer(sampler, policy.tokenizer) as server,
            GatewaySource(gateway, server, agent, concurrency=concurrency, **options) as source,
        ):
            return [t.turns for t in source.collect(["a", "b"], 4, step=5)]

    expected = turns(two_turns, 64)
    assert len({tuple(t[0].ids) for t in expected}) > 5
    assert turns(two_turns_of_sorts, 3) == expected
    assert turns(two_turns, 1) == expected
    assert turns(two_turns, 64, seed=1) != expected


def test_the_gateway_forgets_the_model_server_when_the_source_is_done(source_of, gateway):
    with source_of(two_turns):
        pass

    async def asks(task, client):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        return Reward(1.0)

    async def late():
        async with httpx.AsyncClient(timeout=20) as http:
            client = GatewayClient(gateway, http)
            await client.create("late", "x", train=True, timeout_s=5)
            await client.set_state("late", RolloutState.RUNNING)
            url = client.agent_url("late", train=True)
            await asks("x", openai.AsyncOpenAI(base_url=url, api_key=gateway.key, max_retries=0))

    with pytest.raises(openai.InternalServerError, match="503"):
        asyncio.run(late())


async def sometimes_fails(task, client):
    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], max_tokens=3)
    if task == "bad":
        raise ValueError("the tool broke")
    return Reward(1.0)


def test_an_agent_that_raises_fails_its_own_rollout_only(source_of):
    with source_of(sometimes_fails) as source:
        good, _, bad, _ = source.collect(["good", "bad"], 2, step=0)
    assert (good.reward, good.error) == (1.0, None)
    assert bad.reward is None
    assert bad.error == "ValueError: the tool broke"
    assert len(bad.turns) == 1, "its turns are kept for the log"


async def sleeps(task, client):
    await asyncio.sleep(30)
    return Reward(1.0)


def test_an_agent_that_takes_too_long_has_failed(source_of):
    began = time.monotonic()
    with source_of(sleeps, timeout_s=0.4) as source:
        (one, two) = source.collect(["a"], 2, step=0)
    assert time.monotonic() - began < 10
    assert one.reward is two.reward is None
    assert "no result after 0" in one.error


async def asks_the_impossible(task, client):
    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * 400}])
    return Reward(1.0)


def test_a_refused_model_call_is_told_and_leaves_no_turn(source_of):
    with source_of(asks_the_impossible) as source:
        trajectory = source.collect(["a"], 2, step=0)[0]
    assert "exceed the context of 256" in trajectory.error
    assert (trajectory.reward, list(trajectory.turns)) == (None, [])


async def rewards_nonsense(task, client):
    return Reward(float("nan"))


def test_a_reward_that_is_no_number_fails_the_rollout(source_of):
    with source_of(rewards_nonsense) as source:
        trajectory = source.collect(["a"], 2, step=0)[0]
    assert trajectory.reward is None
    assert trajectory.error


def test_only_so_many_agents_run_at_once(source_of):
    running, most = 0, 0

    async def counts(task, client):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return Reward(0.0)

    with source_of(counts, concurrency=3) as source:
        assert len(source.collect(list("abcd"), 3, step=0)) == 12
    assert most == 3


async def asks_once(task, client):
    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], max_tokens=3)
    return Reward(1.0)


@pytest.mark.filterwarnings("ignore:the Agent Lightning gateway has died")
def test_a_gateway_that_keeps_dying_is_a_clear_error(served, monkeypatch):
    monkeypatch.setattr("homeground.rollouts.gateway_source.MOST_RESTARTS", 1)

    async def kills(task, client):
        os.kill(gateway.process_id, signal.SIGKILL)
        return await asks_once(task, client)

    with (
        Gateway() as gateway,
        GatewaySource(gateway, served.server, kills) as source,
        pytest.raises(HomegroundError, match=r"has died \(exit code -9\)"),
    ):
        source.collect(["a"], 2, step=0)


def test_a_gateway_that_dies_is_restarted_and_the_step_is_rolled_out_again(served):
    ran = []

    async def kills_once(task, client):
        result = await asks_once(task, client)
        ran.append(task)
        if len(ran) == 3:
            os.kill(gateway.process_id, signal.SIGKILL)
        return result

    with Gateway() as gateway, GatewaySource(gateway, served.server, kills_once) as source:
        before = source.collect(["a"], 2, step=0)
        with pytest.warns(UserWarning, match="so are this step's rollouts"):
            during = source.collect(["a", "b"], 2, step=1)
        after = source.collect(["a"], 2, step=2)
    assert source.restarts == 1
    assert [t.attempt for t in before + during + after] == [0, 0, 1, 1, 1, 1, 0, 0]
    assert [t.task for t in during] == [0, 0, 1, 1]
    assert {t.error for t in before + during + after} == {None}
    assert all(len(t.turns) == 1 for t in during), "what the lost attempt sampled is not trained"
    assert len({t.rollout_id for t in before + during + after}) == 8


def test_a_gateway_that_dies_between_steps_is_restarted_and_knows_the_version(served):
    with Gateway() as gateway, GatewaySource(gateway, served.server, asks_once) as source:
        os.kill(gateway.process_id, signal.SIGKILL)
        os.waitid(os.P_PID, gateway.process_id, os.WEXITED | os.WNOWAIT)
        source.publish()
        with pytest.warns(UserWarning, match="has died"):
            (one, two) = source.collect(["a"], 2, step=0)
    assert one.error is two.error is None
    assert source.restarts == 1


def test_evaluation_goes_the_same_way_greedily_and_fails_the_same_way(source_of):
    async def asks_or_fails(task, client):
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], max_tokens=5
        )
        if task == "bad":
            raise ValueError("the tool broke")
        return Reward(1.0, outcome=answer.choices[0].message.content)

    with source_of(asks_or_fails) as source:
        ended = []
        first, second, bad = source.evaluate(["a", "b", "bad"], on_done=lambda: ended.append(1))
        assert len(ended) == 3
        sampled = source.collect(["a"], 6, step=0)
    assert list(first.turns[0].ids) == list(second.turns[0].ids), "greedy answers to one prompt are one answer"
    assert len({tuple(t.turns[0].ids) for t in sampled}) > 1
    assert (first.reward, bad.reward, bad.failure) == (1.0, None, Failure.CRASHED)
    assert not first.turns[0].logprobs, "nothing of it can be trained"


def test_a_model_server_that_dies_is_served_again_and_the_calls_are_asked_again(llama):
    policy = tiny.policy_of(llama)
    died = []

    async def kills_once(task, client):
        if not died:
            died.append(server.endpoint)
            server._server.force_exit = server._server.should_exit = True
            while server.alive:
                await asyncio.sleep(0.01)
        return await asks_once(task, client)

    with (
        Gateway() as gateway,
        Sampler(policy, rows=4, cache_mb=1) as sampler,
        ModelServer(sampler, policy.tokenizer) as server,
        GatewaySource(gateway, server, kills_once) as source,
    ):
        trajectories = source.collect(["a", "b"], 2, step=0)
        assert died == [server.endpoint], "its address and its key are the same"
    assert (source.revivals, source.restarts) == (1, 0)
    assert [(len(t.turns), t.error) for t in trajectories] == [(1, None)] * 4


def test_a_reward_may_come_from_a_grader_and_what_fails_there_fails_the_rollout_only(source_of):
    async def answers(task, client):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], max_tokens=2)
        return f"answer to {task}"

    async def grade(task, outcome):
        if task == "odd":
            raise KeyError("gold")
        return Reward(0.5, {"exact": 1.0}, outcome) if task == "a" else "high"

    with source_of(answers, grade=grade) as source:
        good, odd, text = source.collect(["a", "odd", "text"], 1, step=0)
    assert (good.reward, good.parts, good.outcome) == (0.5, {"exact": 1.0}, "answer to a")
    assert (odd.failure, odd.error) == (Failure.BAD_REWARD, "the grader raised KeyError: 'gold'")
    assert (text.failure, text.error) == (
        Failure.BAD_REWARD,
        f"the grader {grade.__qualname__} gave 'high', which is no finite number (the task 'text')",
    )
    with source_of(answers) as source:
        (nobody,) = source.collect(["a"], 1, step=0)
    assert (nobody.failure, nobody.reward) == (Failure.NO_REWARD, None)


def test_a_slow_grader_holds_up_no_other_rollout(source_of):
    async def sleeps(task, client):
        await asyncio.sleep(0.5 if task == "slow to end" else 0)
        return task

    def grade(task, outcome):
        time.sleep(2.5 if task == "graded first" else 0)
        return 1.0

    with source_of(sleeps, grade=grade, timeout_s=2.0) as source:
        rollouts = source.collect(["graded first", "slow to end"], 1, step=0)
    assert [t.error for t in rollouts] == [None, None], "the second one's time went on while the first was graded"


def test_parallel_calls_and_sub_agents_are_paths_of_one_trajectory(source_of, served):
    async def sub_agent(client, text):
        messages = [{"role": "system", "content": text}, {"role": "user", "content": "q"}]
        for _ in range(2):
            answer = await client.chat.completions.create(model="m", messages=messages, max_tokens=3)
            messages += [{"role": "assistant", "content": answer.choices[0].message.content}]
            messages += [{"role": "user", "content": "more"}]

    async def leads(task, client):
        asked = [{"role": "user", "content": "x"}]
        await asyncio.gather(
            *(client.chat.completions.create(model="m", messages=asked, max_tokens=3) for _ in range(2)),
            sub_agent(client, "You search."),
            sub_agent(client, "You judge."),
        )
        return Reward(1.0)

    with source_of(leads) as source:
        (trajectory,) = source.collect(["a"], 1, step=0)
    paths = sampled_paths(trajectory.turns)
    assert len(trajectory.turns) == 6
    assert len(paths) == 4, "both sub-agents go on with their own"
    assert sum(len(path.tokens.trained) for path in paths) == sum(len(turn.ids) for turn in trajectory.turns)
    starts = counters([trajectory])
    assert (starts["paths/fork"], starts["paths/separate"], starts["paths/rewritten"]) == (1, 2, 0)


def test_a_dead_gateway_is_told_before_anything_is_rolled_out(served):
    with Gateway() as gateway:
        os.kill(gateway.process_id, signal.SIGKILL)
        time.sleep(0.1)
        with pytest.raises(HomegroundError, match="has died"), GatewaySource(gateway, served.server, two_turns):
            pass


def direct(served, **options):
    fields = {"max_tokens": 5, "seed": 3} | options
    return DirectSource(served.policy, served.sampler, lambda prompt, text: float(len(text)), **fields)


def test_direct_rollouts_are_grouped_by_task_and_rewarded_by_their_text(served):
    trajectories = direct(served).collect(["a", "b"], 3, step=0)
    assert [t.task for t in trajectories] == [0, 0, 0, 1, 1, 1]
    assert len({t.rollout_id for t in trajectories}) == 6
    tokenizer = served.policy.tokenizer
    for t in trajectories:
        (turn,) = t.turns
        prompt = [{"role": "user", "content": "ab"[t.task]}]
        assert list(turn.prompt_ids) == chat.encode(tokenizer, chat.prompt_text(tokenizer, prompt))
        assert t.outcome == tokenizer.decode(turn.ids, skip_special_tokens=True)
        assert t.reward == len(t.outcome)
        assert len(turn.ids) <= 5


def test_direct_rollouts_repeat_with_their_seed_and_differ_by_step_and_sibling(served):
    def ids(step, **options):
        return [tuple(t.turns[0].ids) for t in direct(served, **options).collect(["a", "b"], 3, step=step)]

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)
    assert ids(0) != ids(0, seed=4)
    assert len(set(ids(0))) > 4


def test_direct_rollouts_are_sampled_at_their_temperature(served):
    trajectories = direct(served, temperature=0.5).collect(["a"], 6, step=0)
    paths = [p for t in trajectories for p in sampled_paths(t.turns)]
    with torch.no_grad():
        trainer = served.policy.logprobs(TokenForest.build([p.tokens for p in paths]), 0.5)
    sampled = torch.tensor([lp for p in paths for lp in p.logprobs])
    assert (trainer - sampled).abs().max() < 1e-3


def test_an_evaluation_runs_every_task_once_and_keeps_their_order(served):
    done = []
    results = run_agents(two_turns, list("abc"), served.server, concurrency=2, on_done=lambda: done.append(1))
    assert [r.outcome[0]["content"] for r in results] == ["task a", "task b", "task c"]
    assert len(done) == 3


async def calls_the_wrong_model(task, client):
    await client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])


def test_an_evaluation_with_a_hole_is_none(served):
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        run_agents(calls_the_wrong_model, ["a"], served.server, concurrency=1)
