"""Functions and tasks that a user wrote: `FILE.py:NAME`, and JSON lines.

The file is run as a module of its own, with its folder first on the path, so that it can import what lies beside it.
It is the user's own code and is trusted; what an agent answers is not.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from homeground.base.errors import UsageError
from homeground.base.files import read_text

type Task = dict[str, Any]

_HINT = "name a file and a function in it, such as agent.py:agent"
_TASKS_HINT = 'write one JSON object a line, such as {"question": "What is 2 + 2?", "answer": "4"}'
LEAST_HELDOUT = 2
ID_DIGITS = 16


def place_of(reference: str, what: str) -> tuple[Path, str]:
    """File and name of `FILE.py:NAME`.

    Raises:
        UsageError: it has another form, or there is no such file.
    """
    file, colon, name = reference.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise UsageError(f"'{reference}' does not name {what}", where=reference, hint=_HINT)
    path = Path(file).expanduser()
    if not path.is_file():
        raise UsageError(f"{what} is not there: no file {file}", where=str(path.absolute()), hint=_HINT)
    return path.absolute(), name


def load_function(reference: str, what: str) -> Callable[..., Any]:
    """The function that `FILE.py:NAME` names.

    Raises:
        UsageError: the reference is wrong, the file cannot be run, or has no such function.
    """
    path, name = place_of(reference, what)
    module = _module(path, what)
    found = getattr(module, name, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise UsageError(
            f"{path.name} has no function '{name}'" if found is None else f"'{name}' in {path.name} is no function",
            where=str(path),
            hint=f"functions there: {', '.join(there)}" if there else _HINT,
        )
    return found


def _module(path: Path, what: str) -> Any:
    # Two files called agent.py must not be taken for one, nor a file that has changed for what it was.
    text = f"{path} {path.stat().st_mtime_ns}"
    name = f"homeground_own_{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
        raise UsageError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}",
            where=f"{path}:{line}" if line else str(path),
            hint="run the file with Python by itself; with --runner process it may need another interpreter (--python)",
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def read_tasks(path: str | Path) -> list[Task]:
    """Tasks of a file of JSON lines, each an object with whatever fields agent and reward read.

    Raises:
        UsageError: the file is missing, empty, or a line of it is no JSON object.
    """
    file = Path(path).expanduser()
    try:
        # Only "\n" ends a line: JSON may hold U+2028, at which splitlines() would cut.
        lines = read_text(file).split("\n")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the tasks cannot be read: {error}", where=str(file), hint=_TASKS_HINT) from None
    tasks: list[Task] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            task = json.loads(line)
        except ValueError as error:
            raise UsageError(f"a task is not JSON: {error}", where=f"{file}:{number}", hint=_TASKS_HINT) from None
        if not isinstance(task, dict):
            raise UsageError("a task must be a JSON object", where=f"{file}:{number}", hint=_TASKS_HINT)
        tasks.append(task)
    if not tasks:
        raise UsageError("there are no tasks", where=str(file), hint=_TASKS_HINT)
    return tasks


def split_tasks(tasks: Sequence[Task], share: float, where: str) -> tuple[list[Task], list[Task]]:
    """Tasks to train on, and a share of them to measure on, decided by what a task says: the same in every run.

    Raises:
        UsageError: too few tasks for both.
    """
    sides: tuple[list[Task], list[Task]] = ([], [])
    for task in tasks:
        sides[int(task_id(task), 16) / 16**ID_DIGITS < share].append(task)
    if len(sides[1]) < LEAST_HELDOUT or not sides[0]:
        raise UsageError(
            f"of {len(tasks)} tasks {len(sides[1])} would be held out, too few to measure on",
            where=where,
            hint="write more tasks, raise agent.heldout_share, or name a file of held-out tasks with --heldout",
        )
    return sides


def task_id(task: Any) -> str:
    """A task's name in records: a hash of what it says."""
    said = json.dumps(task, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(said.encode(), digest_size=ID_DIGITS // 2).hexdigest()
