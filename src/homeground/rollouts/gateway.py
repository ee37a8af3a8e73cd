"""The Agent Lightning gateway (agentlightning 1.0.2) as a child process, and the calls that a trainer makes to it.

The gateway stands between agents and our model server: agents call it as if it were OpenAI, it forwards to us and
records every call as an event of its rollout; rewards are events too. Its state is in memory only, and it lives and
dies with the run that started it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from homeground.base.errors import HomegroundError
from homeground.rollouts.child import Child, ServiceLostError

_LISTENING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")


class Gateway:
    """Starts ``agl-server`` on loopback with a random key; use it as a context manager.

    Args:
        model: the one model name that agents get, whatever they ask for.
        train_temperature: forced on calls of training rollouts.
        eval_temperature: forced on calls of evaluation rollouts; 0 is greedy.
        port: 0 is any free one, and after a restart another; name one where somebody forwards it elsewhere.
        program: the executable.

    Raises:
        HomegroundError: the executable is missing, or the process ends or stays silent instead of listening.
    """

    def __init__(
        self,
        *,
        model: str = "policy",
        train_temperature: float = 1.0,
        eval_temperature: float = 0.0,
        port: int = 0,
        program: str = "agl-server",
    ) -> None:
        self.key = secrets.token_urlsafe(24)
        config = {
            "host": "127.0.0.1",
            "port": port,
            "key": self.key,
            "default_proxy": {
                "model_name": model,
                "include_log_probs": True,
                "include_routed_experts": False,
                "train": {"temperature": train_temperature},
                "val": {"temperature": eval_temperature},
            },
        }
        self._child = Child("gateway", program, "server", config, ready=_LISTENING)
        self.url = ""

    def __enter__(self) -> Gateway:
        self.url = self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the running gateway."""
        return self._child.process_id

    def restart(self) -> None:
        """Stop what is left of it and start anew, with the same key; it has forgotten rollouts and model servers."""
        self._child.stop()
        self.url = self._child.start()

    def close(self) -> None:
        """Stop the process and remove its files; safe to call twice."""
        self._child.stop()

    def check(self) -> None:
        """Raise if the process has died.

        Raises:
            ServiceLostError: with its exit code and the last lines of its log.
        """
        self._child.check()


class RolloutState(StrEnum):
    """States of a rollout in the gateway."""

    QUEUING = "queuing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Ended:
    """A rollout whose agent has ended, as the gateway tells it."""

    rollout_id: str
    state: RolloutState


class GatewayClient:
    """Client of the gateway.

    Args:
        gateway: a running one.
        http: shared connection pool.
    """

    def __init__(self, gateway: Gateway, http: httpx.AsyncClient) -> None:
        self._gateway = gateway
        self._http = http

    async def register_model(self, model: str, endpoint: str, version: int) -> None:
        """Tell where the model server is; called again with a new version after every publish."""
        await self._call("POST", "/api/models", [{"model": model, "endpoint": endpoint, "version": version}])

    async def forget_models(self) -> None:
        """Remove every model server; the gateway is ours alone, so they are all ours."""
        await self._call("DELETE", "/api/models")

    async def create(
        self, rollout_id: str, task: Any, *, train: bool, timeout_s: float, config: dict[str, Any] | None = None
    ) -> None:
        """Create a rollout; the same id again is the same rollout.

        Args:
            rollout_id: unique.
            task: its input, anything that JSON holds.
            train: whether its calls are sampled as training's or as evaluation's are.
            timeout_s: for a controller; whole seconds, at least one.
            config: what a controller wants to know.
        """
        config = {"timeout_seconds": max(1, round(timeout_s)), **(config or {})}
        body = [{"rollout_id": rollout_id, "input": task, "is_train": train, "config": config}]
        await self._call("POST", "/api/rollouts", body)

    async def set_state(self, rollout_id: str, state: RolloutState) -> None:
        """Move a rollout on."""
        await self._call("PATCH", f"/api/rollouts/{rollout_id}", {"status": {"state": state.value}})

    async def ended(self, after: int) -> tuple[list[Ended], int]:
        """Rollouts that have ended since, and the place from which to ask next; those deleted meanwhile are missing."""
        page = await self._call("GET", f"/api/rollouts/terminal?after={after}")
        return [Ended(item["rollout_id"], RolloutState(item["state"])) for item in page["items"]], page["next_after"]

    async def reason(self, rollout_id: str) -> str:
        """Return what the controller said about a rollout that failed."""
        found = await self._call("GET", f"/api/rollouts/{rollout_id}")
        return str(found["rollout"]["status"]["error_message"] or "")

    async def post_reward(self, rollout_id: str, value: float) -> None:
        """Record a rollout's reward as an event."""
        event = {"event_type": "reward", "data": {"value": value}}
        await self._call("POST", f"/api/rollouts/{rollout_id}/attempt/0/events", event)

    async def events(self, rollout_id: str, kind: str = "") -> list[dict[str, Any]]:
        """A rollout's raw events in order, all or those of one kind."""
        only = f"?event_type={kind}" if kind else ""
        return await self._call("GET", f"/api/rollouts/{rollout_id}/events{only}")  # type: ignore[no-any-return]

    async def delete(self, rollout_id: str) -> None:
        """Forget a rollout."""
        await self._call("DELETE", f"/api/rollouts/{rollout_id}")

    def agent_url(self, rollout_id: str, *, train: bool) -> str:
        """The OpenAI base URL that a rollout's agent calls."""
        mode = "train" if train else "val"
        return f"{self._gateway.url}/proxy/rollout/{rollout_id}/attempt/0/mode/{mode}/openai/v1"

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._gateway.key}"}
        try:
            response = await self._http.request(method, self._gateway.url + path, json=body, headers=headers)
        except httpx.TransportError as error:
            # A dying process closes its connections a moment before it can be seen to have ended.
            await asyncio.sleep(0.5)
            self._gateway.check()
            raise ServiceLostError(
                f"the Agent Lightning gateway does not answer: {error!r}", where=f"{method} {path}", hint="run again"
            ) from error
        if response.status_code >= 400:
            raise HomegroundError(
                f"the Agent Lightning gateway refused a call with {response.status_code}: {response.text[:300]}",
                where=f"{method} {path}",
                hint="this is written for agentlightning 1.0.2; check the installed version",
            )
        return response.json() if response.content else None
