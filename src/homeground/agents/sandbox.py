"""Runs code that a model wrote, where it can do nothing but compute.

    separate process   the same Python, without site-packages, in a session of its own; killed when its time is over
    no network         sockets are refused by the kernel (a seccomp filter that the process puts on itself)
    no files           none can be opened, to read or to write, so no secret, no task and no other process is in reach
    no processes       none can be started, and no thread
    no environment     it starts with an empty one
    limits             time on the clock and on the processor, memory, and how much it may say

Code is judged by calling a function in it and comparing what comes back *here*, where the code cannot reach: it never
sees what is expected, so it can neither read the answers nor declare itself right.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from homeground.agents import sandbox_child
from homeground.base.errors import HomegroundError

_CHILD = Path(sandbox_child.__file__).resolve()
_PIECE = 65536
_MOST_OF_AN_ERROR = 500
START_SECONDS = 30
"""Time limit for starting and locking the interpreter. The code's own time limit begins after that."""
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)
MOST_CODE = 100_000
"""Characters of code that are run at all."""


@dataclass(frozen=True)
class Limits:
    """Of one run: seconds on the clock, MiB of memory, bytes of output."""

    seconds: float = 5.0
    memory_mb: int = 256
    output_bytes: int = 65536


@dataclass(frozen=True)
class Returned:
    """What one call came to: a value of JSON, or an error in words."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Ran:
    """What a piece of code did.

    Attributes:
        calls: one for each call that was wanted; those that were not reached have the reason as their error.
        error: why the code as a whole failed: it could not be loaded, took too long, used too much, or crashed.
    """

    calls: list[Returned]
    error: str | None = None


def run_calls(code: str, entry: str, calls: Sequence[Sequence[Any]], limits: Limits | None = None) -> Ran:
    """Load code in the sandbox and call its function with each list of arguments, one after the other.

    Args:
        code: Python source; may import what its standard library has.
        entry: name of the function.
        calls: positional arguments of each call, as JSON.
        limits: of the whole run.

    Raises:
        HomegroundError: this machine cannot lock a sandbox (it takes Linux on x86-64 or arm64).
    """
    limits = limits or Limits()
    if platform.system() != "Linux" or platform.machine() not in sandbox_child.MACHINES:
        raise HomegroundError(
            f"there is no sandbox for {platform.system()} on {platform.machine()}",
            where="the code-execution reward",
            hint="run this on Linux (x86-64 or arm64), in WSL or a container: code of a model never runs outside of it",
        )
    if len(code) > MOST_CODE:
        return _all_failed(calls, f"the code is longer than {MOST_CODE} characters")
    job = {
        "code": code,
        "entry": entry,
        "calls": [list(arguments) for arguments in calls],
        "seconds": math.ceil(limits.seconds),
        "memory_bytes": limits.memory_mb << 20,
    }
    output, status, reason = _run(json.dumps(job).encode(), limits)
    if status not in (b"", sandbox_child.LOCKED):
        raise HomegroundError(
            status.decode(errors="replace"), where="the code-execution reward", hint="a kernel with seccomp is needed"
        )
    results = _results(output)
    if results and results[0].error is not None:
        return _all_failed(calls, results[0].error)
    reached = results[1 : len(calls) + 1]
    if len(reached) == len(calls) and results:
        return Ran(reached)
    reason = reason or "the process crashed"
    return Ran([*reached, *(Returned(error=reason) for _ in range(len(calls) - len(reached)))], reason)


def same(value: Any, expected: Any) -> bool:
    """Whether a call returned what was expected: equal as JSON, numbers to a relative 1e-9, true never equal to 1."""
    if isinstance(expected, bool) or isinstance(value, bool):
        return value is expected
    if isinstance(expected, int | float) and isinstance(value, int | float):
        try:
            return value == expected or math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:  # an integer beyond all floats
            return False
    if isinstance(expected, list) and isinstance(value, list):
        pairs = cast("list[Any]", value), cast("list[Any]", expected)
        return len(pairs[0]) == len(pairs[1]) and all(map(same, *pairs))
    if isinstance(expected, Mapping) and isinstance(value, Mapping):
        return value.keys() == expected.keys() and all(same(value[key], expected[key]) for key in expected)
    return type(value) is type(expected) and value == expected


def code_of(text: str) -> str:
    """The code in a model's answer: its first fenced block, else the whole."""
    fenced = _FENCE.search(text[:MOST_CODE])
    return fenced.group(1) if fenced else text


def _run(job: bytes, limits: Limits) -> tuple[bytes, bytes, str | None]:
    """Run the child process; return its output, whether the sandbox was locked, and why the process was stopped.

    The process says on a pipe of its own whether the sandbox is locked, and closes that before the code runs: what code
    writes anywhere, and how it ends, is never taken for it. An empty status is a process that has not come so far.
    """
    told, tell = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_CHILD), str(tell)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(tell,),
            env={"PYTHONHASHSEED": "0"},
            cwd="/",
            start_new_session=True,
        )
    except BaseException:
        os.close(told)
        raise
    finally:
        os.close(tell)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with os.fdopen(told, "rb", buffering=0) as status, process.stdout as stdout, process.stderr as stderr:
        try:
            with contextlib.suppress(BrokenPipeError):
                # It reads all of it before it runs anything.
                process.stdin.write(job)
                process.stdin.close()
            return _read(process, {stream.fileno(): b"" for stream in (stdout, status, stderr)}, limits)
        finally:
            process.kill()
            process.wait()


def _read(process: subprocess.Popen[bytes], held: dict[int, bytes], limits: Limits) -> tuple[bytes, bytes, str | None]:
    """Read output, status and errors to their end; the time limit starts when the status pipe closes."""
    output, status, _ = held
    deadline, too_long = time.monotonic() + START_SECONDS, f"it took longer than {limits.seconds:g} s"
    with selectors.DefaultSelector() as ready:
        for stream in held:
            ready.register(stream, selectors.EVENT_READ)
        reason = None
        while ready.get_map() and reason is None:
            left = deadline - time.monotonic()
            if left <= 0:
                reason = too_long
                break
            for key, _ in ready.select(left):
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    ready.unregister(key.fd)
                    deadline = time.monotonic() + limits.seconds if key.fd == status else deadline
                held[key.fd] += piece
                if len(held[key.fd]) > limits.output_bytes:
                    reason = f"it said more than {limits.output_bytes} bytes"
    if reason is None:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:  # it has closed its pipes and goes on
            reason = too_long
        if process.returncode == -signal.SIGXCPU:
            reason = too_long
    return held[output], held[status], reason


def _results(output: bytes) -> list[Returned]:
    """Complete, well-formed result lines; the code may have written anything into its pipe."""
    results: list[Returned] = []
    for line in output.split(b"\n")[:-1]:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(said, dict):
            break
        error = cast("dict[str, Any]", said).get("error")
        if isinstance(error, str):
            # A lone surrogate cannot be encoded.
            results.append(Returned(error=error[:_MOST_OF_AN_ERROR].encode(errors="replace").decode()))
        elif error is None:
            results.append(Returned(cast("dict[str, Any]", said).get("value")))
        else:
            break
    return results


def _all_failed(calls: Sequence[Sequence[Any]], reason: str) -> Ran:
    return Ran([Returned(error=reason) for _ in calls], reason)
