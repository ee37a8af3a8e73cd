"""Hostile programs against the real sandbox: the kernel refuses them, not our words."""

import os
import time
from pathlib import Path

import psutil
import pytest

from homeground.agents import sandbox, sandbox_child
from homeground.agents.code_reward import complaint, passed, run_tests
from homeground.agents.sandbox import Limits, Returned, code_of, run_calls, same
from homeground.base.errors import HomegroundError

QUICK = Limits(seconds=0.5)


def ran(body, *, limits=None, arguments=(1,), head=""):
    """What one call of a function with this body came to."""
    code = head + "\ndef f(x):\n" + "\n".join(f"    {line}" for line in body.strip().splitlines())
    return run_calls(code, "f", [list(arguments)], limits)


def test_calls_come_back_in_order_with_their_values_or_errors():
    found = run_calls("def f(a, b):\n    return a // b\n", "f", [[7, 2], [1, 0], [9, 3]])
    assert found.error is None
    assert found.calls[0] == Returned(3)
    assert found.calls[1].error == "ZeroDivisionError: integer division or modulo by zero (line 2)"
    assert found.calls[2] == Returned(3)


def test_code_may_import_the_standard_library_and_nothing_else():
    head = "import re, math\nfrom collections import Counter\nimport datetime"
    body = (
        "return [math.gcd(12, 18), Counter('aab')['a'], bool(re.match('a', 'ab')), "
        "datetime.datetime.strptime('2020', '%Y').year]"
    )
    assert ran(body, head=head).calls == [Returned([6, 2, True, 2020])]
    assert "numpy" in ran("return 1", head="import numpy").error


@pytest.mark.parametrize(
    "line", ["import sqlite3.__main__", "from ensurepip import __main__", "from venv.__main__ import x"]
)
def test_no_program_of_the_standard_library_runs_before_the_lock(line):
    assert not [name for name in sandbox_child.imported(line) if "__main__" in name]
    assert run_calls(f"{line}\ndef f(x): return x", "f", [[1]]).calls[0].error


def test_code_that_cannot_be_loaded_fails_every_call():
    assert run_calls("def f(x: return", "f", [[1], [2]]).error.startswith("SyntaxError")
    assert "defines no function g" in run_calls("def f(x): return x", "g", [[1]]).calls[0].error
    assert "longer than" in run_calls("#" * 100_001, "f", [[1]]).error


@pytest.mark.parametrize(
    "attack",
    [
        "import os; return os.fork()",
        "import subprocess; return subprocess.run(['/bin/true']).returncode",
        "import os; return os.system('true') == 0 and 'ran'",
        "import os; os.execv('/bin/true', ['true'])",
        "import threading; threading.Thread(target=print).start(); return 'thread'",
        "import socket; socket.socket(); return 'socket'",
        "import socket; socket.create_connection(('127.0.0.1', 80)); return 'socket'",
        "import asyncio; return asyncio.run(asyncio.sleep(0, 'loop'))",
        "return open('/etc/passwd').read()",
        "return open('/tmp/planted', 'w').write('x')",
        "import os; return os.listdir('/')",
        "import os; return os.readlink('/proc/self/exe')",
        "import os; os.mkdir('/tmp/planted'); return 'made'",
        "import os; os.remove('/tmp/nothing'); return 'removed'",
        "import os; os.kill(1, 0); return 'signalled'",
        "import os; return os.getppid() > 0 and 'knows its parent'",
        "import resource; return resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)) or 'raised'",
        "import mmap; return len(mmap.mmap(-1, 1 << 30))",
    ],
)  # fmt: skip
def test_what_reaches_out_is_refused(attack):
    found = ran(attack.replace("; ", "\n"), head=attack.partition(";")[0] if attack.startswith("import") else "")
    assert found.calls[0].error or not found.calls[0].value, found


def test_the_kernel_refuses_what_goes_past_python():
    body = """
libc = ctypes.CDLL(None, use_errno=True)
tried = [libc.open(b"/etc/passwd", 0), libc.socket(2, 1, 0), libc.fork(), libc.syscall(2, b"/etc/passwd", 0)]
return tried
"""
    assert ran(body, head="import ctypes").calls == [Returned([-1, -1, -1, -1])]


def test_a_fork_bomb_starts_nothing():
    body = """
for _ in range(10_000):
    try:
        os.fork()
    except OSError:
        pass
return "over"
"""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert ran(body, head="import os").calls == [Returned("over")]
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_an_endless_loop_and_an_endless_sleep_end_in_time():
    for body in ("while True:\n    pass", "import time\ntime.sleep(60)"):
        began = time.monotonic()
        assert ran(body, limits=QUICK).calls[0].error == "it took longer than 0.5 s"
        assert time.monotonic() - began < 3


def test_code_that_hangs_after_closing_its_pipes_is_ended_too():
    began = time.monotonic()
    found = ran("os.close(1)\nos.close(2)\nwhile True: pass", head="import os", limits=QUICK)
    assert found.error == "it took longer than 0.5 s"
    assert time.monotonic() - began < 3


def test_memory_and_output_are_bounded():
    assert "MemoryError" in ran("return len(bytearray(1 << 30))").calls[0].error
    assert ran("return 'x' * 10_000_000").error == "it said more than 65536 bytes"
    assert ran("while True: os.write(2, b'x' * 65536)", head="import os").error == "it said more than 65536 bytes"
    assert ran("for _ in range(10**5): print('x' * 100)\nreturn 'quiet'").calls == [Returned("quiet")]


def test_nothing_of_the_trainers_environment_is_in_reach(monkeypatch):
    monkeypatch.setenv("TRAINER_SECRET", "swordfish")
    body = f"""
found = [repr(dict(os.environ))]
for place in ("/proc/self/environ", "/proc/{os.getpid()}/environ", "/proc/{os.getppid()}/environ"):
    try:
        found.append(open(place, "rb").read().decode())
    except OSError as error:
        found.append(str(error))
return found
"""
    found = ran(body, head="import os")
    assert len(found.calls[0].value) == 4
    assert "swordfish" not in repr(found)
    assert "TRAINER_SECRET" not in repr(found)


def test_ending_well_is_not_passing():
    for ending in ("raise SystemExit(0)", "import os\nos._exit(0)"):
        assert ran(ending).calls[0].error


def test_what_forges_the_pipe_gains_nothing():
    forged = ran("os.write(1, b'{\"value\": 7}\\n')\nos._exit(0)", head="import os")
    assert forged.calls == [Returned(7)], "a guess counts as what the function returned"
    for junk in (b"[1]\n", b"{}\n" * 9, b"\xff\n", b"[" * 60000 + b"\n"):
        assert len(ran(f"os.write(1, {junk!r})\nos._exit(0)", head="import os").calls) == 1


@pytest.mark.parametrize("forged", [
    "os.write(2, b'the kernel refuses to lock the sandbox: Operation not permitted')",
    "os.write(1, b'the kernel refuses to lock the sandbox\\n')",
    "os.write(2, b'locked')",
    "sys.__stderr__.write('the kernel refuses to lock the sandbox')",
    "sys.exit('the kernel refuses to lock the sandbox: no')",
    "raise SystemExit(1)",
    "[put(fd) for fd in range(16)]",
    "[shut(fd) for fd in range(16)]",
    "[shut(fd) for fd in range(16)]; os._exit(1)",
    "[os._exit(code) for code in (159,)]",
    "signal.raise_signal(signal.SIGKILL)",
    "ctypes.string_at(0)",
    "os.abort()",
    "os.write(1, b'{\"error\": ' + b'[' * 5000 + b']' * 5000 + b'}\\n' * 2)",
    "os.write(1, b'{\"error\": \"\\\\ud800\"}\\n' * 2)",
    "os.write(1, b'{\"value\": ' + b'[' * 5000 + b']' * 5000 + b'}\\n' * 2)",
    "os.write(1, b'{\"value\": ' + b'9' * 5000 + b'}\\n' * 2)",
    "sys.modules['__main__'].LOCKED",
    "raise type('E', (Exception,), {'__str__': lambda e: 1 / 0})()",
    "raise type('E\\ud800', (Exception,), {})('\\udfff')",
    "sys.setrecursionlimit(10**9); f(x)",
])  # fmt: skip
@pytest.mark.parametrize("moment", ["while it loads", "when it is called"])
def test_whatever_code_does_earns_nothing_and_ends_nothing(forged, moment):
    head = """
import ctypes, os, signal, sys
def put(fd):
    try:
        os.write(fd, b'the kernel refuses to lock the sandbox')
    except OSError:
        pass
def shut(fd):
    try:
        os.close(fd)
    except OSError:
        pass
"""
    body = f"{forged}\n    return None" if moment == "when it is called" else "return None"
    tail = f"\n{forged}" if moment == "while it loads" and "f(x)" not in forged else ""
    code = f"{head}\ndef f(x):\n    {body}{tail}"
    test = [{"call": [1], "returns": 5}]
    found = run_tests(code, "f", test)
    assert passed(found, test) == [False]
    complaint(found, "f", test).encode()


def test_a_lock_that_fails_is_an_error_that_the_child_tells(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    source = Path(sandbox_child.__file__).read_text()
    child.write_text(source.replace("_SECCOMP, _FILTER = 1, 38, 22, 2", "_SECCOMP, _FILTER = 1, 38, 22, 77"))
    monkeypatch.setattr(sandbox, "_CHILD", child)
    with pytest.raises(HomegroundError, match="the kernel refuses to lock the sandbox: ") as caught:
        run_calls("raise SystemExit('it ran')", "f", [[1]])
    assert caught.value.hint == "a kernel with seccomp is needed"


def test_the_time_of_code_begins_when_it_is_locked(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    source = Path(sandbox_child.__file__).read_text()
    child.write_text(source.replace("    refused = lock()", "    import time; time.sleep(0.8)\n    refused = lock()"))
    monkeypatch.setattr(sandbox, "_CHILD", child)
    assert ran("return 7", limits=QUICK).calls == [Returned(7)]


def test_an_object_that_equals_everything_does_not():
    found = ran("return Sly()", head="class Sly(int):\n    def __eq__(self, other): return True\n    __hash__ = None")
    assert not same(found.calls[0].value, 5)
    assert ran("return {1, 2}").calls[0].error == "TypeError: Object of type set is not JSON serializable"


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [(1, 1.0, True), (0.1 + 0.2, 0.3, True), (True, 1, False), (1, True, False), ([1, [2]], [1, [2]], True),
     ([1], [1, 2], False), ("1", 1, False), ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"b": 1}, False), (None, None, True),
     (None, 0, False), (float("nan"), 1, False), (10**400, 1.0, False),
     (10**400, 10**400, True)],
)  # fmt: skip
def test_values_are_compared_as_json(value, expected, equal):
    assert same(value, expected) is equal


def test_code_is_found_in_an_answer():
    assert code_of("Here:\n```python\nx = 1\n```\nDone.") == "x = 1\n"
    assert code_of("def f(): pass") == "def f(): pass"


def test_without_a_lock_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox.platform, "system", lambda: "Darwin")
    with pytest.raises(HomegroundError, match="no sandbox for Darwin") as caught:
        run_calls("def f(): pass", "f", [[]])
    assert "Linux" in caught.value.hint
