"""The runner `process`: Agent Lightning's local controller starts a separate program for each rollout.

A program ends with its rollout: the controller kills its process group at the time limit, and the kernel kills it when
the controller is killed. On Linux its descendants end with it too, whatever their session and environment: each program
has a supervisor that adopts its orphans, and the controller has one for programs that are killed with theirs. On other
systems, and where the supervisors were killed, leftover processes are found by a mark in their environment: after each
step, and, if the trainer was killed, by the next one that starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from homeground.base import agent_program, supervise
from homeground.rollouts.child import orphaned
from homeground.rollouts.controller import ControlledRunner
from homeground.rollouts.gateway import Gateway, GatewayClient
from homeground.rollouts.program import Program

MOST_OUTPUT = 65536
"""Bytes at the end of what a program printed that are its outcome."""
TICK_S = 0.2
_LAST_WORDS = 300
_FOLDER = "homeground-agents-"


class ProcessRunner(ControlledRunner):
    """Runs each rollout as a separate program.

    Args:
        program: the agent's program.
        size: number of programs that run at once.

    Attributes:
        stragglers: processes that outlived their programs' supervisors, and that were killed.
    """

    def __init__(self, program: Program, size: int = 8) -> None:
        super().__init__(size)
        self._program = program
        self._words = program.words()
        self._records = Path()
        self.stragglers = 0

    def start(self, gateway: Gateway) -> None:
        """See :class:`Runner`."""
        for folder in orphaned(_FOLDER):
            _sweep(folder.name)
            shutil.rmtree(folder, ignore_errors=True)
        self._records = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        super().start(gateway)

    def stop(self) -> None:
        """See :class:`Runner`."""
        super().stop()
        if self._records != Path():
            self.stragglers += _sweep(self._records.name)
            shutil.rmtree(self._records, ignore_errors=True)

    @asynccontextmanager
    async def rolling(self, client: GatewayClient) -> AsyncGenerator[None]:
        """See :class:`Runner`; at the end of a step nothing of its programs runs."""
        async with super().rolling(client):
            yield
        self.stragglers += _kill(self._controller.left_running if self._controller else list)
        self.stragglers += _sweep(self._records.name)

    def config(self, rollout_id: str, task: Any) -> dict[str, Any]:
        """See :class:`Runner`."""
        folder = self._records / rollout_id
        folder.mkdir(mode=0o700)
        (folder / agent_program.INPUT).write_text(json.dumps(task))
        specification = {
            "words": self._words,
            "folder": str(self._program.folder.absolute()) if self._program.folder else "",
            "records": str(self._records),
            "supervisor": supervise.FILE,
            "most_output": MOST_OUTPUT,
            "names": [*self._program.passed(), *self._program.env],
        }
        variables = {
            agent_program.SPECIFICATION: json.dumps(specification),
            agent_program.ROLLOUT: rollout_id,
            agent_program.RUNNER: self._records.name,
            **self._program.mapped(task),
        }
        return {"local": {"agent_class": "homeground.base.agent_program:AgentProgram", "env_map": variables}}

    def _settings(self) -> dict[str, Any]:
        return {"runner_type": "local", "local_runner": {"maximum_size": self._size, "poll_interval": TICK_S}}

    def _environment(self) -> Mapping[str, str]:
        # The controller hands its own environment on, so it gets no more than programs may see.
        return {**self._program.passed(), "PYTHONPATH": str(Path(__file__).parents[2])}

    def _left(self, rollout_id: str) -> tuple[str | None, str]:
        folder = self._records / rollout_id
        printed = _tail(folder / agent_program.OUTPUT, MOST_OUTPUT).strip()
        lines = _tail(folder / agent_program.ERRORS, MOST_OUTPUT).strip().splitlines()
        shutil.rmtree(folder, ignore_errors=True)
        return printed, lines[-1][:_LAST_WORDS] if lines else ""

    def owns(self, process: psutil.Process) -> bool:
        """Return whether a process is one of the runner's programs, or was started by one."""
        return _marked(process, self._records.name)


def _sweep(mark: str) -> int:
    """Kill leftover processes that have the mark."""
    return _kill(lambda: [process for process in psutil.process_iter() if _marked(process, mark)])


def _kill(find: Callable[[], list[psutil.Process]]) -> int:
    """Kill processes; scan again, because one may fork during the scan."""
    killed = 0
    while found := find():
        killed += len(found)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=5)
    return killed


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.uids().real != os.getuid():
            return False
        return process.environ().get(agent_program.RUNNER) == mark
    except (psutil.Error, OSError):
        return False


def _tail(file: Path, most: int) -> str:
    """The end of a file as text; empty where there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - most))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
