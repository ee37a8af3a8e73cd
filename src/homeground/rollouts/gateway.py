"""The Agent Lightning gateway (agentlightning 1.0.2) as a child process, and a typed client of its HTTP interface.

The gateway stands between agents and our model server: agents call it as if it were OpenAI, it forwards to us and
records every call as an event of its rollout; rewards are events too. Its state is in memory only, and it lives and
dies with the run that started it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
import psutil

from homeground.base.errors import HomegroundError

START_SECONDS = 90
STOP_SECONDS = 10
_LISTENING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")
_SET_PARENT_DEATH_SIGNAL = 1
_FOLDER = "homeground-gateway-"


class RolloutState(StrEnum):
    """States of a rollout in the gateway."""

    QUEUING = "queuing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Gateway:
    """Starts ``agl-server`` on a free loopback port with a random key; use it as a context manager.

    Args:
        model: the one model name that agents get, whatever they ask for.
        train_temperature: forced on calls of training rollouts.
        eval_temperature: forced on calls of evaluation rollouts; 0 is greedy.
        program: the executable; looked up beside the running Python, then on the PATH.

    Raises:
        HomegroundError: the executable is missing, or the process ends or stays silent instead of listening.
    """

    def __init__(
        self,
        *,
        model: str = "policy",
        train_temperature: float = 1.0,
        eval_temperature: float = 0.0,
        program: str = "agl-server",
    ) -> None:
        self.key = secrets.token_urlsafe(24)
        self._program = program
        self._config = {
            "host": "127.0.0.1",
            "port": 0,
            "key": self.key,
            "default_proxy": {
                "model_name": model,
                "include_log_probs": True,
                "include_routed_experts": False,
                "train": {"temperature": train_temperature},
                "val": {"temperature": eval_temperature},
            },
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Gateway:
        executable = _find(self._program)
        # The key goes through a private file, not the command line, which other users can read.
        _remove_orphans()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        (self._folder / "server.yaml").write_text(json.dumps(self._config))
        self._log = self._folder / "gateway.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(executable), "--config-path", str(self._folder), "--config-name", "server", "hydra.run.dir=."],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
            )
        try:
            self.url = self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the running gateway."""
        assert self._process is not None, "enter the context first"
        return self._process.pid

    def close(self) -> None:
        """Stop the process and remove its files; safe to call twice."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Raise if the process has died.

        Raises:
            HomegroundError: with its exit code and the last lines of its log.
        """
        assert self._process is not None, "enter the context first"
        code = self._process.poll()
        if code is not None:
            raise HomegroundError(
                f"the Agent Lightning gateway has died (exit code {code}); its last lines:\n{self._tail()}",
                where=self.url or self._program,
                hint="run the command again; finished steps are kept and --resume goes on from them",
            )

    def _wait(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := _LISTENING.search(self._log.read_text(errors="replace")):
                return found.group(1)
            self.check()
            time.sleep(0.05)
        raise HomegroundError(
            f"the Agent Lightning gateway was not listening after {START_SECONDS} s; its last lines:\n{self._tail()}",
            where=self._program,
            hint="is the machine overloaded? run the command again",
        )

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-8:]) or "  (it printed nothing)"


class GatewayClient:
    """The calls of the gateway's HTTP interface that a trainer makes.

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

    async def create(self, rollout_id: str, task: Any, *, train: bool, timeout_s: float) -> None:
        """Create a rollout; the same id again is the same rollout."""
        config = {"timeout_seconds": max(1, round(timeout_s))}
        body = [{"rollout_id": rollout_id, "input": task, "is_train": train, "config": config}]
        await self._call("POST", "/api/rollouts", body)

    async def set_state(self, rollout_id: str, state: RolloutState) -> None:
        """Move a rollout on."""
        await self._call("PATCH", f"/api/rollouts/{rollout_id}", {"status": {"state": state.value}})

    async def post_reward(self, rollout_id: str, value: float) -> None:
        """Record a rollout's reward as an event."""
        event = {"event_type": "reward", "data": {"value": value}}
        await self._call("POST", f"/api/rollouts/{rollout_id}/attempt/0/events", event)

    async def events(self, rollout_id: str) -> list[dict[str, Any]]:
        """A rollout's raw events in order."""
        found = await self._call("GET", f"/api/rollouts/{rollout_id}/events")
        return found if isinstance(found, list) else found["events"]  # type: ignore[no-any-return]

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
            raise HomegroundError(
                f"the Agent Lightning gateway does not answer: {error!r}", where=f"{method} {path}", hint="run again"
            ) from error
        if response.status_code >= 400:
            raise HomegroundError(
                f"the Agent Lightning gateway refused a call with {response.status_code}: {response.text[:300]}",
                where=f"{method} {path}",
                hint="this is written for agentlightning 1.0.2; check the installed version",
            )
        return response.json() if response.content else None


def _find(program: str) -> Path:
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.is_file() else shutil.which(program)
    if found is None:
        raise HomegroundError(
            f"the Agent Lightning gateway '{program}' is not installed",
            where=f"looked beside {Path(sys.executable).name} and on the PATH",
            hint="install agentlightning==1.0.2 (`make setup` does)",
        )
    return Path(found)


def _remove_orphans() -> None:
    """Folders of gateways whose trainer was killed before it could remove them; each is named after that process."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def _die_with_parent() -> Callable[[], None]:
    """Even `kill -9` of the trainer must not leave a gateway behind (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
