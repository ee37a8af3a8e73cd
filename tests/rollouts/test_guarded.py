"""Agents of others: whatever they do, they fail their own rollout only, and it is told how."""

import asyncio
import sys

import pytest
import torch

from homeground.rollouts import AgentResult, Failure
from homeground.rollouts.guarded import RolloutFailedError, checked_reward, run_agent


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
    assert ran(answers) == AgentResult(None, outcome="42")
    assert ran(sleeps, 0.1) == (Failure.TIMED_OUT, "no result after 0 s")
    assert ran(will_not_stop, 0.1) == (Failure.TIMED_OUT, "no result after 0 s")
    assert stubborn, "it was asked to stop"


@pytest.mark.parametrize(("value", "reward"), [(1, 1.0), (True, 1.0), (-0.5, -0.5), (torch.tensor(0.25), 0.25)])
def test_numbers_are_rewards(value, reward):
    assert checked_reward(value) == reward


@pytest.mark.parametrize("value", ["1", None, [1.0], {}, float("nan"), float("-inf"), torch.tensor(float("nan"))])
def test_nothing_else_is(value):
    with pytest.raises(RolloutFailedError, match="the reward is") as caught:
        checked_reward(value)
    assert caught.value.failure is Failure.BAD_REWARD
