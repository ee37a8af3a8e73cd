"""The workspace: one private folder that holds the index, caches and runs.

It is `.homeground/` in the current directory or in the nearest parent that has one; `--home` or the environment
variable `HOMEGROUND_HOME` name it directly. It is readable by its owner only and ignores itself in git. One that was
found, and not named, is refused where another user owns it or may write to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import atomic_write_json, atomic_write_text, read_json, refuse_foreign

FOLDER = ".homeground"
SCHEMA = 1
_VERSION_FILE = "version.json"
_LONGEST_NAME = 200  # bytes of a run's name; file names are limited to 255, and some append a suffix to it


@dataclass(frozen=True)
class RunFolder:
    """One run: its recipe, logs, checkpoints, adapter and report. The folder is made on first write."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def recipe(self) -> Path:
        """The recipe the run was started with, as YAML."""
        return self.path / "recipe.yaml"

    @property
    def metrics_jsonl(self) -> Path:
        """One line a training step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The newest finished adapter, PEFT format."""
        return self.path / "adapter"

    @property
    def data(self) -> Path:
        """What was trained on, and what was removed from it: `data.json`."""
        return self.path / "data.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def metrics(self) -> Path:
        """The run's results: `metrics.json`."""
        return self.path / "metrics.json"

    @property
    def results(self) -> Path:
        """The same of a run on an agent of one's own: `results.json`."""
        return self.path / "results.json"

    @property
    def state(self) -> Path:
        """Which stages are finished, and when: `state.json`."""
        return self.path / "state.json"

    def create(self) -> RunFolder:
        """Make the folder (and nothing else); returns itself."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None
        return self

    @contextlib.contextmanager
    def locked(self) -> Generator[RunFolder]:
        """Lock the run against other processes during the block; the system releases the lock if this one is killed.

        The lock file lies beside the folder, so the lock holds even if the folder is deleted during the run.

        Raises:
            HomegroundError: another process holds it (says which), or its lock file cannot be written.
        """
        file = self.path.parent / f".{self.name}.lock"
        lock = FileLock(file, timeout=0)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise HomegroundError(
                f"the run '{self.name}' is in use by {_holder(file)}",
                where=str(self.path),
                hint="wait until it has ended, or name another run with --run",
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
            yield self
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> HomegroundError:
        return HomegroundError(
            f"the run '{self.name}' cannot be written: {error.strerror}",
            where=str(error.filename or self.path),
            hint="make that place writable, or name another run with --run or another workspace with --home",
        )

    def finished(self) -> dict[str, dict[str, Any]]:
        """Finished stages in the order they finished: `{STAGE: {"finished": seconds since 1970, ...}}`."""
        if not self.state.exists():
            return {}
        stages: Any = read_json(self.state)
        try:
            return {name: {**facts, "finished": float(facts["finished"])} for name, facts in stages.items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise HomegroundError(
                "the record of a run's finished stages is damaged",
                where=str(self.state),
                hint=f"remove the run: homeground runs remove {self.name}",
            ) from None

    def finish(self, stage: str, **facts: Any) -> None:
        """Record that `stage` is finished, with any JSON facts a later `--resume` needs."""
        stages = self.finished()
        stages.pop(stage, None)
        stages[stage] = {**facts, "finished": time.time()}
        atomic_write_json(self.state, stages)


@dataclass(frozen=True)
class Workspace:
    """The `.homeground` folder and where things lie in it."""

    path: Path

    @property
    def index(self) -> Path:
        return self.path / "index"

    @property
    def tasks(self) -> Path:
        """Tasks made from the index, a JSON-lines file for each kind."""
        return self.path / "tasks"

    @property
    def threshold(self) -> Path:
        """How similar a hit must be for a question to count as answered: `threshold.json`."""
        return self.path / "threshold.json"

    @property
    def chat_history(self) -> Path:
        """What was typed into `homeground chat`."""
        return self.path / "chat-history"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def run(self, name: str) -> RunFolder:
        """The run called `name`, which need not exist yet.

        Raises:
            UsageError: the name would leave the folder of runs, is not printable, or is too long for a file.
        """
        leaves = not name or name.startswith(".") or "/" in name or "\\" in name
        if leaves or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
            raise UsageError(
                f"{name[:60]!r} cannot be a run's name",
                where="--run",
                hint=f"use letters, digits, - and _, at most {_LONGEST_NAME}",
            )
        return RunFolder(self.runs / name)

    def newest_run(self, stage: str | None = None) -> RunFolder:
        """The run that finished `stage` last (any stage when None).

        Raises:
            HomegroundError: there is none.
        """
        newest: tuple[float, RunFolder] | None = None
        for folder in sorted(self.runs.iterdir()) if self.runs.is_dir() else []:
            run = RunFolder(folder)
            times = [facts["finished"] for name, facts in run.finished().items() if stage in (None, name)]
            if times and (newest is None or max(times) > newest[0]):
                newest = (max(times), run)
        if newest is None:
            what = "no finished run" if stage is None else f"no run that finished '{stage}'"
            raise HomegroundError(
                f"{what} in this workspace",
                where=str(self.runs),
                hint="make one with 'homeground demo' or 'homeground sft', or name another workspace with --home",
            )
        return newest[1]


def open_workspace(home: Path | None = None, create: bool = True, *, pretend: bool = False) -> Workspace:
    """Find the workspace, or create it.

    `home` takes precedence over `HOMEGROUND_HOME`, then the nearest `.homeground` in the current directory or a
    parent, then a new one in the current directory. With ``pretend`` a missing one is named but not created.

    Raises:
        UsageError: `home` is a file, or a folder with other things in it.
        HomegroundError: there is none and `create` is false; it cannot be written; a newer Homeground made it; it
            was found, and another user owns it or a part of it.
    """
    path = _locate(home)
    if path.is_dir() and (path / _VERSION_FILE).exists():
        _check_schema(path)
        return Workspace(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(
            "this is not a Homeground workspace, and it is not empty",
            where=str(path),
            hint=f"name a new folder instead, such as --home {path if path.is_dir() else path.parent}/{FOLDER}",
        )
    if pretend:
        return Workspace(path)
    if not create:
        raise HomegroundError(
            "there is no Homeground workspace here yet",
            where=str(path),
            hint="make one with 'homeground demo' or 'homeground index', or name one with --home",
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        atomic_write_text(path / ".gitignore", "*\n")
        # Last: a folder without it is made again from the start.
        atomic_write_json(path / _VERSION_FILE, {"schema": SCHEMA})
    except OSError as error:
        raise HomegroundError(
            f"the workspace cannot be made: {error.strerror}",
            where=str(path),
            hint="choose a folder you may write to with --home",
        ) from None
    return Workspace(path)


def _holder(lock: Path) -> str:
    try:
        holder = json.loads(lock.read_text())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # its owner has not written its name yet


def _locate(home: Path | None) -> Path:
    if home is None and os.environ.get("HOMEGROUND_HOME"):
        home = Path(os.environ["HOMEGROUND_HOME"])
    if home is not None:
        try:
            found = home.expanduser().absolute()
            found.is_dir()  # too long a name raises OSError
        except (OSError, RuntimeError) as error:  # RuntimeError: the user in ~user does not exist
            raise UsageError(
                f"this is no folder: {error.strerror if isinstance(error, OSError) else error}",
                where=f"--home {home}",
                hint="name another folder with --home, or in HOMEGROUND_HOME",
            ) from None
        return found
    here = Path.cwd()
    found = next((one / FOLDER for one in (here, *here.parents) if _is_workspace(one / FOLDER)), here / FOLDER)
    if os.path.lexists(found):
        refuse_foreign(found, "--home")
        _check_parts(found)
    return found


def _is_workspace(path: Path) -> bool:
    try:
        return (path / _VERSION_FILE).is_file()
    except PermissionError:  # it is another user's
        return True


def _check_parts(path: Path) -> None:
    """Refuse files that another user put into the workspace while it was writable to them."""
    if not hasattr(os, "geteuid"):
        return
    for folder in (path, path / "runs"):
        for part in folder.iterdir() if folder.is_dir() else ():
            if part.lstat().st_uid not in (os.geteuid(), 0):
                raise HomegroundError(
                    "a part of the workspace belongs to another user",
                    where=str(part),
                    hint=f"remove it, or if you trust that user name the workspace: --home {path}",
                )


def _check_schema(path: Path) -> None:
    version: object = read_json(path / _VERSION_FILE) if (path / _VERSION_FILE).is_file() else None
    schema = cast("dict[str, object]", version).get("schema") if isinstance(version, dict) else None
    if schema != SCHEMA:
        raise HomegroundError(
            f"the workspace has schema {schema}, this Homeground reads {SCHEMA}",
            where=str(path / _VERSION_FILE),
            hint="upgrade Homeground, or start a new workspace with --home",
        )
