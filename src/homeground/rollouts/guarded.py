"""Running an agent of somebody else's: whatever it does, it fails its own rollout only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward, checked_reward
from homeground.rollouts.trajectory import Failure

GRACE_S = 2.0
"""How long an agent that is cancelled may take to end before it is left to itself."""


class RolloutFailedError(Exception):
    """How and why a rollout failed; it never leaves the sources."""

    def __init__(self, failure: Failure, words: str) -> None:
        super().__init__(words)
        self.failure, self.words = failure, words


async def run_agent(work: Awaitable[Any], timeout_s: float) -> Reward:
    """Wait for an agent; what it returns that is no result is an outcome that somebody else rewards.

    Raises:
        RolloutFailedError: it raised, took too long, or left the program.
    """
    task = asyncio.ensure_future(_caught(work))
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        # An agent that catches its cancellation would keep the others waiting.
        await asyncio.wait({task}, timeout=GRACE_S)
        with contextlib.suppress(asyncio.CancelledError, RolloutFailedError):
            if task.done():
                task.result()
        raise RolloutFailedError(Failure.TIMED_OUT, f"no result after {timeout_s:.0f} s")
    if task.cancelled():
        raise RolloutFailedError(Failure.CRASHED, "CancelledError: the agent cancelled itself")
    returned = task.result()
    return returned if isinstance(returned, Reward) else Reward(None, outcome=returned)


async def _caught(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (Exception, SystemExit) as error:
        raise RolloutFailedError(Failure.CRASHED, words(error)) from error


def checked_result(result: Reward, who: str, task: Any) -> Reward:
    """Check that a result's reward and parts are finite numbers.

    Raises:
        RolloutFailedError: one of them is not a number, or not finite.
    """
    try:
        return checked_reward(result, who, task)
    except HomegroundError as error:
        raise RolloutFailedError(Failure.BAD_REWARD, words(error)) from None


def words(error: BaseException) -> str:
    """Format an error on one line; a `HomegroundError` has its place instead of its class name."""
    if isinstance(error, HomegroundError):
        return error.message + (f" ({error.where})" if error.where else "")
    return f"{type(error).__name__}: {error}"
