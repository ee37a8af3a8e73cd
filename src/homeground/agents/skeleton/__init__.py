"""The files that `homeground rl init` writes: an agent, tasks and a reward that train as they are."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from homeground.base.errors import UsageError
from homeground.base.files import atomic_write_text

FILES = {"agent.py": "agent.txt", "reward.py": "reward.txt", "tasks.jsonl": "tasks.jsonl"}
"""Names that a user gets, and of what here: not Python files, which would be taken for modules of this package."""
COMMAND = "homeground rl run --agent agent.py:agent --tasks tasks.jsonl --reward reward.py:reward"


def write_skeleton(folder: Path) -> list[Path]:
    """Write the files into ``folder``, which is made; returns their paths.

    Raises:
        UsageError: one of them is there already.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise UsageError(
            f"{', '.join(there)} would be overwritten",
            where=str(folder.absolute()),
            hint="name an empty folder: homeground rl init my-agent",
        )
    source = files("homeground.agents.skeleton")
    for name, origin in FILES.items():
        atomic_write_text(folder / name, (source / origin).read_text("utf-8"))
    return [folder / name for name in FILES]
