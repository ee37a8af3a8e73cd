"""The launcher in another interpreter that knows nothing of Homeground."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from homeground.agents import launch

BASE = Path(sys.base_prefix) / "bin" / "python3"
"""Without this environment's packages."""


def launched(tmp_path, code, task, name="agent", env=None):
    (tmp_path / "mine.py").write_text(code)
    return subprocess.run(
        [BASE, launch.FILE, f"{tmp_path}/mine.py:{name}"],
        input=json.dumps(task), env=env or {}, cwd="/", capture_output=True, text=True, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize("word", ["", "async "])
def test_the_answer_is_the_one_document_on_standard_output(tmp_path, word):
    (tmp_path / "beside.py").write_text("print('imported')\nSUFFIX = '!'")
    code = (
        "import os, subprocess, beside\n"
        "print('loading')\n"
        f"{word}def agent(task):\n"
        "    print('working')\n"
        "    subprocess.run(['echo', 'a child'])\n"
        "    return {'answer': task['question'] + beside.SUFFIX}\n"
    )
    done = launched(tmp_path, code, {"question": "é"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"answer": "é!"}
    assert {"loading", "working", "imported", "a child"} <= set(done.stderr.split("\n"))


@pytest.mark.parametrize("word", ["", "async "])
def test_a_class_is_run_with_the_fields_of_its_task_in_the_environment(tmp_path, word):
    code = (
        "import os\n"
        "AT_LOAD = os.environ['QUESTION']\n"
        "class Agent:\n"
        f"    {word}def run(self):\n"
        "        return [AT_LOAD, os.environ['ROWS'], os.environ['HOME'], sorted(os.environ)]\n"
    )
    task = {"question": "é", "rows": [1, None], "home": "the task's", "a=b": "", "nul": "a\0b", "half": "\ud800"}
    done = launched(tmp_path, code, task, "Agent", env={"HOME": "its own"})
    assert done.returncode == 0, done.stderr
    question, rows, home, names = json.loads(done.stdout)
    assert (question, rows, home) == ("é", "[1, null]", "its own")
    assert {"A=B", "NUL", "HALF"}.isdisjoint(names)


@pytest.mark.parametrize(
    ("code", "told"),
    [("def agent(task): return 1 / 0", "ZeroDivisionError"), ("def other(task): pass", "AttributeError"),
     ("import nothing_at_all", "ModuleNotFoundError"), ("def agent(task): return {1}", "not JSON serializable")],
)  # fmt: skip
def test_an_agent_that_fails_ends_with_an_error(tmp_path, code, told):
    done = launched(tmp_path, code, {})
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" in done.stderr
