"""What Agent Lightning's controller starts for a rollout of the runner `process`: it becomes the agent's program.

Only the standard library is imported here: this runs once a rollout, in a process that is a few milliseconds old.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

SPECIFICATION = "HOMEGROUND_PROGRAM"
TASK = "HOMEGROUND_TASK"
ROLLOUT = "HOMEGROUND_ROLLOUT"
RUNNER = "HOMEGROUND_RUNNER"
INPUT, OUTPUT, ERRORS, SCRATCH = "task.json", "output", "errors", "scratch"
MOST_IN_A_VARIABLE = 100_000
"""Bytes; Linux takes 131,072 for a name with its value."""
_SET_PARENT_DEATH_SIGNAL = 1


class AgentProgram:
    """The class that a rollout's record names; the controller calls :meth:`run`."""

    def run(self) -> None:
        """Replace this process by the program, on Linux with its supervisor; the exit code says whether it succeeded.

        Raises:
            OSError: the program cannot be run.
        """
        given: dict[str, Any] = json.loads(os.environ[SPECIFICATION])
        if sys.platform == "linux":
            # Survives exec: whoever kills the controller has killed the agents.
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        folder = Path(given["records"]) / os.environ[ROLLOUT]
        scratch = folder / SCRATCH
        scratch.mkdir(mode=0o700)
        task = os.open(folder / INPUT, os.O_RDONLY)
        os.dup2(task, 0)
        os.close(task)
        for name, descriptor in ((OUTPUT, 1), (ERRORS, 2)):
            file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, descriptor)
            os.close(file)
        os.chdir(given["folder"] or scratch)
        words: list[str] = given["words"]
        variables = environment(dict(os.environ), given["names"], scratch)
        written = (folder / INPUT).read_text()
        if len(written.encode()) <= MOST_IN_A_VARIABLE:
            variables[TASK] = written
        if sys.platform == "linux":
            words = [sys.executable, "-I", "-S", given["supervisor"], "0", str(given["most_output"]), *words]
        os.execve(words[0], words, variables)


def environment(found: dict[str, str], names: list[str], scratch: Path) -> dict[str, str]:
    """What the program gets.

    Args:
        found: of this process.
        names: of what is passed on from it.
        scratch: its home.
    """
    kept = {name: found[name] for name in names if name in found}
    own = {
        "OPENAI_BASE_URL": found["AGL_OPENAI_BASE_URL"],
        "OPENAI_API_KEY": found["AGL_KEY"],
        **{name: found[name] for name in ("AGL_OPENAI_BASE_URL", "AGL_EVENT_URL", "AGL_KEY", ROLLOUT, RUNNER)},
    }
    return {"HOME": str(scratch), "PYTHONUNBUFFERED": "1", **own, **kept}
