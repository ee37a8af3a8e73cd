"""The workspace: one private folder that holds the index, caches and runs.

It is `.homeground/` in the current directory or in the nearest parent that has one; `--home` or the environment
variable `HOMEGROUND_HOME` name it directly. It is readable by its owner only and ignores itself in git.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import atomic_write_json, atomic_write_text, read_json

FOLDER = ".homeground"
SCHEMA = 1
_VERSION_FILE = "version.json"


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
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Keep the run for this process while the block lasts, and the folder with it.

        Raises:
            HomegroundError: another process trains it; says which.
        """
        holder = self.create().path / ".holder.json"
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            try:
                who: Any = read_json(holder)
                words = f"process {who['pid']} on {who['host']} since {who['since']}"
            except (HomegroundError, KeyError, TypeError):  # it has the lock, and has not said so yet
                words = "another process"
            raise HomegroundError(
                f"the run '{self.name}' is being trained already, by {words}",
                where=str(self.path),
                hint="wait for it or stop it (Ctrl-C saves what was reached), or name another run with --run",
            ) from None
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            atomic_write_json(holder, {"pid": os.getpid(), "host": platform.node(), "since": since})
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def begun(self, stage: str) -> bool:
        """Whether a checkpoint of the stage is there."""
        return any((self.checkpoints / stage).glob("step-*.ckpt"))

    def finished(self) -> dict[str, dict[str, Any]]:
        """Finished stages in the order they finished: `{STAGE: {"finished": seconds since 1970, ...}}`."""
        if not self.state.exists():
            return {}
        return cast("dict[str, dict[str, Any]]", read_json(self.state))

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
        """The run called `name`, whether it exists yet or not.

        Raises:
            UsageError: the name would leave the folder of runs.
        """
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
            raise UsageError(f"{name!r} cannot be a run's name", where="--run", hint="use letters, digits, - and _")
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
    """Find the workspace, or make it.

    `home` wins over `HOMEGROUND_HOME`, that over the nearest `.homeground` in the current directory or a parent, and
    that over a new one in the current directory. With ``pretend`` a missing one is not made, only named.

    Raises:
        UsageError: `home` is a file, or a folder with other things in it.
        HomegroundError: there is none and `create` is false; it cannot be written; a newer Homeground made it.
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


def _locate(home: Path | None) -> Path:
    if home is None and os.environ.get("HOMEGROUND_HOME"):
        home = Path(os.environ["HOMEGROUND_HOME"])
    if home is not None:
        return home.expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER / _VERSION_FILE).is_file():
            return folder / FOLDER
    return here / FOLDER


def _check_schema(path: Path) -> None:
    schema: object = read_json(path / _VERSION_FILE).get("schema")
    if schema != SCHEMA:
        raise HomegroundError(
            f"the workspace has schema {schema}, this Homeground reads {SCHEMA}",
            where=str(path / _VERSION_FILE),
            hint="upgrade Homeground, or start a new workspace with --home",
        )
