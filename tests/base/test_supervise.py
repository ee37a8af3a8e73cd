"""The supervisor with real processes: it ends as its program does, and nothing of that is left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from homeground.base import supervise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has subreapers")

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", sys.argv[1]], {})
    os._exit(0)
os.wait()
"""


def command(code, *arguments, grace=0, cap=0):
    options = [sys.executable, "-I", "-S", supervise.FILE, str(grace), str(cap)]
    return [*options, sys.executable, "-c", DAEMON + code, *arguments]


@pytest.fixture
def mark():
    return f"mark-{os.getpid()}-{time.time_ns()}"


def running(mark):
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[-1:] == [mark]:
                found.append(process)
    return found


def gone(mark, seconds=10):
    deadline = time.monotonic() + seconds
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(mark)


@pytest.mark.parametrize(("ending", "code"), [
    ("", 0), ("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", -9), ("os.kill(os.getpid(), 15)", -15), ("1 / 0", 1),
    ("[os.fork() for _ in range(5)]; time.sleep(0.1)", 0), ("os.close(1); os.close(2)", 0),
])  # fmt: skip
def test_it_ends_as_its_program_does_and_leaves_nothing(mark, ending, code):
    done = subprocess.run(command(ending, mark), stderr=subprocess.DEVNULL, check=False, timeout=20)
    assert (done.returncode, running(mark)) == (code, [])


def test_a_program_that_is_not_there_is_told():
    words = [sys.executable, "-I", "-S", supervise.FILE, "0", "0", "/nowhere/at-all"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 127
    assert done.stderr.startswith("/nowhere/at-all: ")


def test_when_its_parent_is_killed_everything_ends(mark):
    starter = (
        f"import subprocess, time; subprocess.Popen({command('time.sleep(60)', mark, grace=60)!r}); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter])
    while len(running(mark)) < 3:  # the supervisor, its program and the daemon
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(mark)


@pytest.mark.parametrize(("answer", "grace", "code"), [("sys.exit(3)", 20, 3), ("None", 0.2, -9)])
def test_a_program_has_its_grace_when_it_is_asked_to_end(mark, answer, grace, code):
    ready = f"import signal; signal.signal(15, lambda *_: {answer}); print('ready', flush=True); "
    waits = "[time.sleep(0.1) for _ in range(600)]"
    process = subprocess.Popen(command(ready + waits, mark, grace=grace), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == code
    process.stdout.close()
    assert gone(mark, 0)


@pytest.mark.parametrize("printed", [0, 10, 1000, 15_999, 16_000, 16_001, 100_000])
def test_a_capped_file_keeps_its_end(tmp_path, printed):
    text = "".join(chr(97 + number % 26) for number in range(printed))
    for flush in ("print(text, end='')", "[print(one, end='', flush=True) for one in text[::-1][:3000][::-1]]"):
        with Path(tmp_path / "out").open("w+b") as out, Path(tmp_path / "err").open("w+b") as err:
            code = f"text = {text!r}; {flush}; print('oops', end='', file=sys.stderr)"
            done = subprocess.run(command(code, "x", cap=1000), stdout=out, stderr=err, check=False, timeout=20)
        assert done.returncode == 0
        kept = (tmp_path / "out").read_text()
        shown = text if flush.startswith("print") else text[-3000:]
        assert shown.endswith(kept)
        assert min(len(shown), 1000) <= len(kept) <= 16_000
        assert (tmp_path / "err").read_text() == "oops"
