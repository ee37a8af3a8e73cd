"""Agents of others: whatever they do, they fail their own rollout only, and it is told how."""

import asyncio
import sys

import pytest
import torch

from homeground import Reward
from homeground.rollouts import Failure
from homeground.rollouts.guarded import RolloutFailedError, checked_result, run_agent


def ran(agent, timeout_s=5.0):
    async def once():
        try:
            return await run_agent(agent(), timeout_s)
        except RolloutFailedError as failed:
            return failed.failure, failed.words

    return asyncio.run(once())


async def leaves():
    sys.exit(3)


async def cancels_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def has_a_timeout_of_its_own():
    await asyncio.wait_for(asyncio.sleep(1), 0.01)


async def answers():
    return "42"


async def sleeps():
    await asyncio.sleep(60)


async def will_not_stop():
    while True:
        try:
            await asyncio.sleep(0.3)
        except asyncio.CancelledError:
            stubborn.append(1)
            if len(stubborn) > 1:
                raise


stubborn = []


def test_what_agents_do(monkeypatch):
    monkeypatch.setattr("homeground.rollouts.guarded.GRACE_S", 0.2)
    assert ran(leaves) == (Failure.CRASHED, "SystemExit: 3")
    assert ran(cancels_itself) == (Failure.CRASHED, "CancelledError: the agent cancelled itself")
    assert ran(has_a_timeout_of_its_own) == (Failure.CRASHED, "TimeoutError: ")
    assert ran(answers) == Reward(None, outcome="42")
    assert ran(sleeps, 0.1) == (Failure.TIMED_OUT, "no result after 0 s")
    assert ran(will_not_stop, 0.1) == (Failure.TIMED_OUT, "no result after 0 s")
    assert stubborn, "it was asked to stop"


def test_the_numbers_of_a_result_are_floats():
    found = checked_result(Reward(torch.tensor(0.25), {"a": torch.tensor([1])}, "x"), "the agent", "t")
    assert found == Reward(0.25, {"a": 1.0}, "x")
    assert type(found.parts["a"]) is float


@pytest.mark.parametrize(("result", "told"), [
    (Reward(None), "the agent gave None, which is no finite number (the task {'q': 1})"),
    (Reward(1.0, {"a": "high"}),
     "the agent, in its part 'a', gave 'high', which is no finite number (the task {'q': 1})"),
])  # fmt: skip
def test_anything_else_fails_the_rollout_and_names_the_task(result, told):
    with pytest.raises(RolloutFailedError) as caught:
        checked_result(result, "the agent", {"q": 1})
    assert (caught.value.failure, caught.value.words) == (Failure.BAD_REWARD, told)
