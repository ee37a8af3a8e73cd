"""Run a user's agent in its own Python: ``python launch.py FILE.py:NAME``.

The agent's interpreter runs this file and may have neither Homeground nor its dependencies installed, so it imports
only the standard library. The task arrives as JSON on standard input. The function's return value is the only JSON
document on standard output. All other output, of the agent or its imports, goes to standard error.

A class is an Agent Lightning agent: its ``run()`` takes no arguments and reads the task's fields from the environment.
"""

import asyncio
import contextlib
import importlib.util
import inspect
import json
import os
import sys
from typing import Any

FILE = os.path.abspath(__file__)  # noqa: PTH100 (starts faster without pathlib)


def main() -> None:
    """Load, call, answer."""
    file, _, name = sys.argv[1].rpartition(":")
    task = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if isinstance(task, dict):
        _export(task)
    sys.path[0] = os.path.dirname(os.path.abspath(file))  # noqa: PTH100, PTH120 (starts faster without pathlib)
    # Its own name, as if it had been imported by what lies beside it.
    stem = os.path.basename(file).removesuffix(".py")  # noqa: PTH119
    spec = importlib.util.spec_from_file_location(stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    spec.loader.exec_module(module)
    agent: Any = getattr(module, name)
    if inspect.isclass(agent):
        theirs: Any = agent()
        answer = theirs.run()
    else:
        answer = agent(task)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_settled(answer))
    with answers:
        json.dump(answer, answers)


def _export(task: dict[str, object]) -> None:
    """Export each field as an upper-case variable, as Agent Lightning's examples do; existing variables are kept."""
    for field, value in task.items():
        if field.isidentifier():
            # A variable cannot hold a text with a NUL or a lone surrogate.
            with contextlib.suppress(ValueError):
                os.environ.setdefault(field.upper(), value if isinstance(value, str) else json.dumps(value))


async def _settled(answer: object) -> object:
    assert inspect.isawaitable(answer)
    return await answer


if __name__ == "__main__":
    main()
