"""Agents that Agent Lightning's controller runs: it finds their rollouts in the gateway, starts them, tells the end."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward
from homeground.rollouts.child import Child, ServiceLostError
from homeground.rollouts.gateway import Ended, Gateway, GatewayClient, RolloutState
from homeground.rollouts.guarded import RolloutFailedError
from homeground.rollouts.lifecycle import Attempt, State
from homeground.rollouts.trajectory import Failure

POLL_S = 0.2
SILENCE_S = 120.0
"""A controller that lets a rollout wait this long past its time is taken for dead."""
_READY = re.compile(r"(LocalReconciler starting|Controller starting)")
_TIMED_OUT = re.compile("timed out|DeadlineExceeded")


class ControlledRunner(ABC):
    """A runner of rollouts that a controller runs.

    Args:
        at_once: rollouts that the controller has at a time; as many again wait for it in the gateway.
    """

    def __init__(self, at_once: int) -> None:
        self._size = at_once
        self._controller: Child | None = None
        self._waiting: dict[str, asyncio.Future[Ended]] = {}
        self._place = 0

    @property
    def at_once(self) -> int:
        """See :class:`Runner`."""
        return 2 * self._size

    def start(self, gateway: Gateway) -> None:
        """See :class:`Runner`."""
        settings = self._settings()
        settings["agl_server"] = {"url": gateway.url, "key": gateway.key, **settings.get("agl_server", {})}
        self._controller = Child(
            "controller",
            "agl-controller",
            "controller",
            settings,
            ready=_READY,
            environment=self._environment(),
            supervised=True,
        )
        self._controller.start()
        self._place = 0

    def stop(self) -> None:
        """See :class:`Runner`; the controller kills its agents."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    @asynccontextmanager
    async def rolling(self, client: GatewayClient) -> AsyncGenerator[None]:
        """See :class:`Runner`."""
        watch = asyncio.create_task(self._watch(client))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            self._waiting.clear()

    async def run(self, attempt: Attempt, client: GatewayClient, timeout_s: float) -> None:
        """See :class:`Runner`."""
        name = attempt.rollout_id
        waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
        attempt.move(State.RUNNING)
        try:
            ended = await asyncio.wait_for(waiting, 2 * timeout_s + SILENCE_S)
        except TimeoutError:
            raise ServiceLostError(
                "the Agent Lightning controller leaves rollouts unfinished", where=f"rollout {name}", hint="run again"
            ) from None
        finally:
            self._waiting.pop(name, None)
        reason = "" if ended.state is RolloutState.SUCCEEDED else await client.reason(name)
        outcome, last_words = self._left(name)
        if ended.state is RolloutState.SUCCEEDED:
            attempt.result = Reward(None, outcome=outcome)
            attempt.move(State.GRADING)
            return
        if _TIMED_OUT.search(reason):
            raise RolloutFailedError(Failure.TIMED_OUT, f"no result after {timeout_s:.0f} s")
        raise RolloutFailedError(Failure.CRASHED, ": ".join(filter(None, (reason, last_words))))

    @abstractmethod
    def config(self, rollout_id: str, task: Any) -> dict[str, Any]:
        """See :class:`Runner`."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Of the controller."""

    @abstractmethod
    def _environment(self) -> Mapping[str, str]:
        """Of the controller."""

    @abstractmethod
    def _left(self, rollout_id: str) -> tuple[str | None, str]:
        """What an agent that has ended leaves: its outcome, and its last words where it failed."""

    async def _watch(self, client: GatewayClient) -> None:
        """Tell rollouts their ends; a controller or a gateway that dies ends them all."""
        try:
            while True:
                assert self._controller is not None
                self._controller.check()
                ended, self._place = await client.ended(self._place)
                for one in ended:
                    waiting = self._waiting.get(one.rollout_id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(one)
                await asyncio.sleep(POLL_S)
        except HomegroundError as error:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(error)
