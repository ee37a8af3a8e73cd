"""What runs inside the sandbox: one Python process that locks itself in, then runs code that nobody vetted.

It is started by :mod:`homeground.agents.sandbox` with an empty environment and imports the standard library alone. What
the code imports is loaded first; then limits are set and every system call is refused but those that compute, wait and
write to the pipes that are open. From there on no file can be opened, for reading either, and no socket, process or
thread started, by whatever means: the kernel refuses.
"""

import ast
import contextlib
import ctypes
import importlib
import io
import json
import os
import resource
import signal
import struct
import sys

# Names of system calls: number on x86-64, number on arm64.
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "writev": (20, 66),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getrusage": (98, 165),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table above, and what the kernel calls the machine (AUDIT_ARCH)."""
LOCKED = b"locked"
UNLOADED = frozenset({"antigravity", "idlelib", "test", "this", "tkinter", "turtle", "turtledemo"})
"""Modules of the standard library that do something when they are imported."""

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # EPERM
_PARENT_DEATH_SIGNAL, _NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 1, 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class _Bounded(io.StringIO):
    """What the code prints, as far as anybody will read."""

    def write(self, text: str) -> int:
        return super().write(text) if self.tell() < 2000 else len(text)


def main() -> None:
    """Read the job from standard input; write a JSON line for the loading and one for each call.

    Write :data:`LOCKED`, or why the lock failed, to the descriptor named on the command line, then close it.
    """
    status = int(sys.argv[1])
    job = json.load(sys.stdin)
    for name in imported(job["code"]):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    limit(job["seconds"], job["memory_bytes"])
    refused = lock()
    os.write(status, LOCKED if refused is None else refused.encode())
    os.close(status)
    if refused is not None:
        return  # without the lock nothing runs
    out = os.fdopen(1, "w", encoding="utf-8")
    sys.stdin = sys.stdout = sys.stderr = printed = _Bounded()

    def tell(document: dict[str, object]) -> None:
        out.write(json.dumps(document) + "\n")
        out.flush()

    space: dict[str, object] = {"__name__": "answer"}
    try:
        exec(compile(job["code"], "answer", "exec"), space)
        function = space.get(job["entry"])
        if not callable(function):
            raise NameError(f"the code defines no function {job['entry']}")
    except BaseException as error:
        tell({"error": words(error), "printed": printed.getvalue()})
        return
    tell({"value": None})
    for arguments in job["calls"]:
        try:
            tell({"value": function(*arguments)})
        except BaseException as error:
            tell({"error": words(error)})


def words(error: BaseException) -> str:
    """An error with the line of the code it came from."""
    place, line = error.__traceback__, None
    while place is not None:
        if place.tb_frame.f_code.co_filename == "answer":
            line = place.tb_lineno
        place = place.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno
    text = str(error)[:200]
    return f"{type(error).__name__}: {text}" + (f" (line {line})" if line else "")


def imported(code: str) -> list[str]:
    """Modules of the standard library that the code names in imports, with what they load later themselves."""
    names: list[str] = []
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if {"datetime", "time"} & set(names):
        names.append("_strptime")
    loaded = sys.stdlib_module_names - UNLOADED
    # Importing a package's __main__ would run a program before the lock.
    return [name for name in names if name.partition(".")[0] in loaded and "__main__" not in name.split(".")]


def limit(seconds: int, memory_bytes: int) -> None:
    """Time of the processor, memory, and no files."""
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(what, (most, most))


def lock() -> str | None:
    """Refuse all but the allowed system calls for the rest of this process's life; return why that failed, or None."""
    column, machine = MACHINES[os.uname().machine]
    numbers = [pair[column] for pair in ALLOWED.values()]
    steps = [(_LOAD, 0, 0, 4), (_JUMP_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    steps += [(_JUMP_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0),
        (_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SECCOMP, _FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            return f"the kernel refuses to lock the sandbox: {os.strerror(ctypes.get_errno())}"
    return None


if __name__ == "__main__":
    main()
