"""The command `homeground`: one verb a function, and one place where errors become messages and exit codes.

Exit codes: 0 done, 1 failed, 2 bad usage or recipe, 130 interrupted. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from typer.exceptions import Abort, TyperException

from homeground.base.errors import HomegroundError, RunInterruptedError
from homeground.base.fulldisk import full_disk
from homeground.base.terminal import json_line, printable_lines
from homeground.cli import (  # each module of verbs adds its own to the app, in this order
    ask,
    chat,
    data,
    evaluate,
    export,
    find,
    init,
    machine,
    mcp,
    plan,
    rl,
    rollouts,
    runs,
    search,
    serve,
    train,
    tune,
)
from homeground.cli.verb import app, is_resumable

__all__ = [
    "ask",
    "chat",
    "data",
    "evaluate",
    "export",
    "find",
    "init",
    "machine",
    "main",
    "mcp",
    "plan",
    "rl",
    "rollouts",
    "runs",
    "search",
    "serve",
    "train",
    "tune",
]

_HOME = Path(__file__).resolve().parents[1]

# Nothing leaves the machine unasked, and nothing but our own progress is drawn.
_LIBRARY_SETTINGS = {
    "ANONYMIZED_TELEMETRY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # How long a waiting thread spins. The default, 10 times more, lets another busy process on few cores make every
    # product many times slower; none at all costs 30% on a quiet machine; this costs nothing there.
    "GOMP_SPINCOUNT": "30000",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (the process's own when None) and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wants_json = "--json" in (given[: given.index("--")] if "--" in given else given)
    # Libraries read these once, when they are first imported; a person's own setting stays.
    for name, value in _LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    # It warns at import that an optional kernel is not installed; ours come with the package.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.showwarning = functools.partial(_warn, warnings.showwarning)
    if threading.current_thread() is threading.main_thread():
        # `kill` ends like Ctrl-C: what was started is stopped, what was reached is saved.
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: object = app(given or ["--help"], prog_name="homeground", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us (head, a pager) has seen enough. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as typer ends when it is the one to notice
    except RunInterruptedError as stop:
        _tell(_interrupted(given, stop.run), wants_json)
        return stop.exit_code
    except HomegroundError as error:
        _tell(error, wants_json)
        return error.exit_code
    except TyperException as error:
        where = f"homeground {_verb(given)}".strip()
        _tell(HomegroundError(error.format_message(), where=where, hint=f"see '{where} --help'"), wants_json)
        return error.exit_code
    except (KeyboardInterrupt, Abort):
        code = 130
    except Exception as error:
        if (full := full_disk(error)) is not None:
            _tell(full, wants_json)
            return full.exit_code
        if wants_json:
            unexpected = f"{type(error).__name__}: {error}"
            hint = "this is a defect of Homeground: please report it with the traceback on stderr"
            print(json_line({"error": unexpected, "where": None, "hint": hint}))
        raise
    if code == 130:
        _tell(_interrupted(given), wants_json)
    return code if isinstance(code, int) else 0


def _interrupted(given: list[str], run: str | None = None) -> HomegroundError:
    again = ["homeground", *given]
    if run is not None and not any(word.split("=")[0] == "--run" for word in given):
        # A verb that chose the name itself would choose another one next time.
        again += ["--run", run]
    if run is not None and is_resumable(_verb(given)):
        again += [] if "--resume" in given else ["--resume"]
        return HomegroundError("interrupted; what was reached is saved", hint=f"go on with: {shlex.join(again)}")
    return HomegroundError("interrupted", hint=f"run it again with: {shlex.join(again)}")


def _verb(given: list[str]) -> str:
    """The verb that was called; empty when it is none of ours."""
    verbs = {command.name for command in app.registered_commands}
    return next((word for word in given[:1] if word in verbs), "")


def _tell(error: HomegroundError, wants_json: bool) -> None:
    if wants_json:
        print(json_line(error.to_json()))
    print(printable_lines(f"error: {error}"), file=sys.stderr)


def _warn(
    show: Callable[..., None], message: Warning | str, category: type[Warning], filename: str, *place: Any
) -> None:
    """Our own warnings are for the person, without the line of code that they come from."""
    if Path(filename).is_relative_to(_HOME):
        print(printable_lines(f"warning: {message}"), file=sys.stderr)
    else:
        show(message, category, filename, *place)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
