"""Agent Lightning's programs as child processes: started on a private configuration, watched, and stopped.

Each gets a folder of its own that only this user can read: its configuration with the key, its log, and what it writes.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from homeground.base import supervise
from homeground.base.errors import HomegroundError

START_SECONDS = 90
STOP_SECONDS = 10
_GRACE = str(STOP_SECONDS - 2)
_SET_PARENT_DEATH_SIGNAL = 1
# To Linux a child's parent is the thread that started it, so that thread must live as long as this process.
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="homeground-spawner")


class ServiceLostError(HomegroundError):
    """Something that rollouts stand on (gateway, controller) has died; what was rolled out with it is void."""


class Child:
    """A child process with its folder.

    Args:
        kind: "gateway" or "controller"; in the folder's name and in messages.
        program: looked up beside the running Python, then on the PATH.
        config_name: of the program's Hydra configuration.
        config: settings that differ from its defaults.
        ready: pattern of the line that it prints when it is ready; :meth:`start` returns its first group.
        environment: environment of the process; None is this process's own.
        supervised: on Linux all its descendants end with it (:mod:`homeground.base.supervise`).
    """

    def __init__(
        self,
        kind: str,
        program: str,
        config_name: str,
        config: Mapping[str, Any],
        *,
        ready: re.Pattern[str],
        environment: Mapping[str, str] | None = None,
        supervised: bool = False,
    ) -> None:
        self._kind = kind
        self._program = program
        self._config_name = config_name
        self._config = config
        self._ready = ready
        self._environment = environment
        self._supervised = supervised and sys.platform == "linux"
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path()

    @property
    def process_id(self) -> int:
        """Of the running process."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def start(self) -> str:
        """Start the process and wait until it is ready; returns what its line told.

        Raises:
            HomegroundError: the program is missing, or the process ends or stays silent instead.
        """
        executable = _find(self._program, self._kind)
        for folder in orphaned(self._prefix):
            shutil.rmtree(folder, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self._prefix}{os.getpid()}-"))
        # The key goes through a private file, not the command line, which other users can read.
        (self.folder / f"{self._config_name}.yaml").write_text(json.dumps(self._config))
        self._log = self.folder / f"{self._kind}.log"
        with self._log.open("wb") as log:
            options = ["--config-path", str(self.folder), "--config-name", self._config_name, "hydra.run.dir=."]
            supervisor = [sys.executable, "-I", "-S", supervise.FILE, _GRACE, "0"] if self._supervised else []
            self._process = _SPAWNER.submit(
                subprocess.Popen,
                [*supervisor, str(executable), *options],
                cwd=self.folder,
                env=None if self._environment is None else dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
            ).result()
        try:
            return self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the process and remove its files; safe to call twice, and before it has started."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def left_running(self) -> list[psutil.Process]:
        """Running descendants of a supervised program, orphans included, without the program itself."""
        if not self._supervised or self._process is None:
            return []
        try:
            supervisor = psutil.Process(self._process.pid)
            # Orphans are the supervisor's children too, but younger than the program.
            program = min(supervisor.children(), key=psutil.Process.create_time, default=None)
            return [process for process in supervisor.children(recursive=True) if process != program]
        except psutil.NoSuchProcess:
            return []

    def check(self) -> None:
        """Raise if the process has died.

        Raises:
            ServiceLostError: with its exit code and the last lines of its log.
        """
        assert self._process is not None, "start it first"
        code = self._process.poll()
        if code is not None:
            raise ServiceLostError(
                f"the Agent Lightning {self._kind} has died (exit code {code}); its last lines:\n{self._tail()}",
                where=self._program,
                hint="run the command again; finished steps are kept and --resume goes on from them",
            )

    @property
    def _prefix(self) -> str:
        return f"homeground-{self._kind}-"

    def _wait(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := self._ready.search(self._log.read_text(errors="replace")):
                return found.group(1)
            self.check()
            time.sleep(0.05)
        raise HomegroundError(
            f"the Agent Lightning {self._kind} was not listening after {START_SECONDS} s; its last lines:\n"
            f"{self._tail()}",
            where=self._program,
            hint="is the machine overloaded? run the command again",
        )

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-8:]) or "  (it printed nothing)"


def _find(program: str, kind: str) -> Path:
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.is_file() else shutil.which(program)
    if found is None:
        raise HomegroundError(
            f"the Agent Lightning {kind} '{program}' is not installed",
            where=f"looked beside {Path(sys.executable).name} and on the PATH",
            hint="install agentlightning==1.0.2 (`make setup` does)",
        )
    return Path(found)


def orphaned(prefix: str) -> list[Path]:
    """Folders whose trainer was killed before it could remove them; each is named after that process."""
    found: list[Path] = []
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)) and folder.stat().st_uid == os.getuid():
            found.append(folder)
    return found


def _die_with_parent() -> Callable[[], None]:
    """Even `kill -9` of the trainer must not leave a process behind (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
