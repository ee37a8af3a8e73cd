"""Programs as agents: what is run, with which Python, and the only environment that they get.

A program speaks to the model as it would to OpenAI: it gets ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``, its task as
JSON on standard input and (up to 100,000 bytes) in ``HOMEGROUND_TASK``, ``AGL_EVENT_URL`` for a reward of its own, and
what its map of the environment names.
Of the trainer's environment it gets :data:`PASSED` and nothing else; its home is a folder of the rollout's own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from homeground.base.errors import HomegroundError

PASSED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
FROM_INPUT, FROM_TRAINER = "input", "env."


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        command: its words; nothing is read by a shell.
        python: an interpreter, or the folder of a virtual environment, that is put before them; with it the first
            word is a script or an option like ``-m``.
        env: name -> where its value comes from: ``input`` (the task), ``input.FIELD`` (a field of it, also nested),
            ``env.NAME`` (a variable of the trainer's), else the text itself.
        folder: where it runs; None is an empty folder of the rollout's own, removed afterwards.
    """

    command: Sequence[str]
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def words(self) -> list[str]:
        """The command with absolute paths of its interpreter and its script.

        Raises:
            HomegroundError: there is no such interpreter, script or program.
        """
        if not self.command:
            raise HomegroundError("the agent's command is empty", hint="name a program, e.g. ['agent.py']")
        first, *others = self.command
        base = self.folder or Path.cwd()
        if self.python is not None or first.endswith(".py"):
            script = first if first.startswith("-") else _file(base / Path(first).expanduser(), "the agent's script")
            return [self._interpreter(), script, *others]
        found = shutil.which(first) or shutil.which(str(base / first))
        if found is None:
            raise HomegroundError(
                f"there is no program '{first}' to run as the agent",
                where=f"looked on the PATH and in {base}",
                hint="name an executable, or a script that ends in .py",
            )
        return [str(Path(found).absolute()), *others]

    def _interpreter(self) -> str:
        if self.python is None:
            return sys.executable
        named = Path(self.python).expanduser().absolute()
        if named.is_dir():
            named = named / "bin" / "python"
        return _file(named, "the agent's Python")

    def mapped(self, task: Any) -> dict[str, str]:
        """The part of its environment that a controller fills in from the task.

        Raises:
            HomegroundError: the task has no such field.
        """
        found = {name: value for name, value in self.env.items() if not value.startswith(FROM_TRAINER)}
        for name, path in found.items():
            if path.startswith(f"{FROM_INPUT}."):
                _look_up(task, path, name)
        return found

    def passed(self) -> dict[str, str]:
        """The part of its environment that comes from the trainer's.

        Raises:
            HomegroundError: a variable that is mapped is not set.
        """
        found = {name: os.environ[name] for name in PASSED if name in os.environ}
        for name, source in self.env.items():
            if source.startswith(FROM_TRAINER):
                wanted = source.removeprefix(FROM_TRAINER)
                if wanted not in os.environ:
                    raise HomegroundError(
                        f"the agent's variable {name} comes from {wanted}, which is not set",
                        where=f"env.{name}",
                        hint=f"export {wanted}, or take it out of the agent's env",
                    )
                found[name] = os.environ[wanted]
        return found


def _file(path: Path, what: str) -> str:
    if not path.is_file():
        raise HomegroundError(f"{what} is not there", where=str(path), hint="check the path in the agent's settings")
    # Not resolved: the Python of a virtual environment is a link, and knows itself by its name.
    return str(path.absolute())


def _look_up(task: Any, path: str, name: str) -> None:
    value = task
    for part in path.split(".")[1:]:
        if isinstance(value, Mapping) and part in value:
            value = cast("Mapping[str, Any]", value)[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            raise HomegroundError(
                f"the agent's variable {name} comes from {path}, but the task has no {part!r} there",
                where=f"env.{name}",
                hint="name a field that every task has",
            )
