"""Run a program and kill its leftover processes: ``python -I -S supervise.py GRACE CAP PROGRAM [ARGUMENT...]``.

Linux only. The process is a child subreaper: every orphaned descendant of the program becomes a child of this process,
whatever its environment and session. When the program has ended, all descendants are killed, and this process ends
with the program's exit status or signal. On SIGTERM it does the same after GRACE seconds, or at once if its own parent
has died.

With CAP > 0 the program's output and errors are copied to the files open as descriptors 1 and 2, which keep at least
their last CAP bytes and at most sixteen times as many. Only the standard library is imported, because this program
starts once a rollout.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
import time

FILE = os.path.abspath(__file__)  # noqa: PTH100 (starts faster without pathlib)
_PARENT_DEATH_SIGNAL, _CHILD_SUBREAPER = 1, 36
_PIECE = 65536
_MOST_CAPS = 16
_KILLING_SECONDS = 5.0
"""Time limit for killing processes that keep forking."""


class Capped:
    """A file of bounded size that drops its beginning."""

    def __init__(self, file: int, cap: int) -> None:
        self._file, self._cap, self._size = file, cap, 0

    def write(self, data: bytes) -> None:
        """Add to its end."""
        if self._size + len(data) > _MOST_CAPS * self._cap:
            os.lseek(self._file, -min(self._cap, self._size), os.SEEK_END)
            data = (os.read(self._file, self._cap) + data)[-self._cap :]
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            self._size = 0
        os.write(self._file, data)
        self._size += len(data)


def main() -> None:
    """Supervise; never returns."""
    grace, cap, words = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    libc = ctypes.CDLL(None)
    libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()
    stopping: list[float] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(time.monotonic()))
    libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    pipes = [(*os.pipe(), file) for file in (1, 2)] if cap else []
    program = os.fork()
    if program == 0:
        _become(libc, words, {file: write for _, write, file in pipes})
    logs = {read: Capped(file, cap) for read, _, file in pipes}
    for _, write, _ in pipes:
        os.close(write)
    with selectors.DefaultSelector() as ready:
        ready.register(woken, selectors.EVENT_READ)
        for log in logs:
            os.set_blocking(log, False)
            ready.register(log, selectors.EVENT_READ)
        told = False
        while (status := _reap(program)) is None:
            for key, _ in ready.select(0.05 if told else None):
                data = _read(key.fd)
                if key.fd in logs and data:
                    logs[key.fd].write(data)
                elif key.fd in logs and data is not None:
                    ready.unregister(key.fd)
            if stopping and (os.getppid() != parent or time.monotonic() - stopping[0] >= grace):
                os.kill(program, signal.SIGKILL)
            elif stopping and not told:
                os.kill(program, signal.SIGTERM)
            told = bool(stopping)
    kill_descendants()
    for log, file in logs.items():
        while data := _read(log):
            file.write(data)
    _end(status)


def _become(libc: ctypes.CDLL, words: list[str], files: dict[int, int]) -> None:
    try:
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for file, pipe in files.items():
            os.dup2(pipe, file)
        os.execv(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _read(file: int) -> bytes | None:
    """Read a pipe without blocking; None if it is empty but open."""
    try:
        return os.read(file, _PIECE)
    except BlockingIOError:
        return None


def _reap(program: int) -> int | None:
    """Reap all ended children; return the program's status if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == 0:
                break
            found = status if ended == program else found
    return found


def descendants(ancestor: int) -> list[int]:
    """Process ids of all descendants of a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 (starts faster without pathlib)
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The program's name, in brackets, may hold any character.
                children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found = list(children.get(ancestor, ()))
    for one in found:
        found += children.get(one, ())
    return found


def kill_descendants() -> None:
    """Kill descendants until none is left; a process may fork during the scan."""
    deadline = time.monotonic() + _KILLING_SECONDS
    while (found := descendants(os.getpid())) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        _reap(0)


def _end(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # SIGKILL cannot be set
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


if __name__ == "__main__":
    main()
