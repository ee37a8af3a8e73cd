import json

import pytest

from homeground.agents.own_code import load_function, place_of, read_tasks, split_tasks, task_id
from homeground.base.errors import UsageError


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_function_is_loaded_with_what_lies_beside_it(write):
    write("beside_it.py", "WORD = 'here'")
    file = write("own.py", "from beside_it import WORD\ndef agent():\n    return WORD\n")
    assert load_function(f"{file}:agent", "the agent")() == "here"


def test_two_files_of_one_name_are_two_modules(write, tmp_path):
    (tmp_path / "other").mkdir()
    first = write("agent.py", "def agent(): return 1")
    second = write("other/agent.py", "def agent(): return 2")
    assert [load_function(f"{file}:agent", "the agent")() for file in (first, second)] == [1, 2]


@pytest.mark.parametrize(
    ("reference", "message"),
    [("agent.py", "does not name the agent"), ("agent:agent", "does not name"), ("no.py:agent", "no file no.py"),
     ("own.py:nothing", "has no function 'nothing'"), ("own.py:NUMBER", "'NUMBER' in own.py is no function")],
)  # fmt: skip
def test_a_wrong_reference_says_what_is_wrong(write, tmp_path, monkeypatch, reference, message):
    monkeypatch.chdir(tmp_path)
    write("own.py", "NUMBER = 1\ndef agent(task, client): pass\ndef _hidden(): pass\n")
    with pytest.raises(UsageError, match=message) as caught:
        load_function(reference, "the agent")
    if "own.py" in reference:
        assert caught.value.hint == "functions there: agent"


def test_a_file_that_fails_names_its_line(write):
    file = write("broken.py", "x = 1\nimport no_such_module\n")
    with pytest.raises(UsageError, match="ModuleNotFoundError: No module named 'no_such_module'") as caught:
        load_function(f"{file}:agent", "the agent")
    assert caught.value.where == f"{file}:2"
    assert "--python" in caught.value.hint


def test_tasks_are_read_with_or_without_a_last_newline(write):
    rows = [{"q": 1}, {"q": 2}]
    assert read_tasks(write("a.jsonl", '{"q": 1}\n\n{"q": 2}\n')) == rows
    assert read_tasks(write("b.jsonl", '{"q": 1}\n{"q": 2}')) == rows


def test_only_a_newline_ends_a_task(write):
    tasks = [{"question": "one\u2028two\x85three"}, {"question": "four"}]
    file = write("tasks.jsonl", "".join(json.dumps(task, ensure_ascii=False) + "\r\n" for task in tasks))
    assert read_tasks(file) == tasks


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [("", "no tasks", ""), ('{"q": 1}\nnot json\n', "not JSON", ":2"), ("[1]\n", "must be a JSON object", ":1")],
)
def test_tasks_that_cannot_be_read_name_their_line(write, text, message, line):
    file = write("tasks.jsonl", text)
    with pytest.raises(UsageError, match=message) as caught:
        read_tasks(file)
    assert caught.value.where == file + line
    assert "one JSON object a line" in caught.value.hint


def test_missing_tasks_are_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_tasks(tmp_path / "none.jsonl")


def test_the_split_follows_from_what_tasks_say_and_nothing_else():
    tasks = [{"n": n} for n in range(400)]
    train, heldout = split_tasks(tasks, 0.25, "tasks.jsonl")
    assert len(train) + len(heldout) == 400
    assert 60 < len(heldout) < 140
    again = split_tasks([*reversed(tasks), {"n": 1000}], 0.25, "tasks.jsonl")[1]
    assert {task_id(t) for t in heldout} <= {task_id(t) for t in again}
    assert split_tasks(tasks + tasks, 0.25, "")[1] == heldout + heldout, "a task's twin is on its side"


def test_too_few_tasks_to_hold_any_out_are_refused():
    with pytest.raises(UsageError, match=r"of 1 tasks \d would be held out, too few to measure on") as caught:
        split_tasks([{"n": 1}], 0.25, "tasks.jsonl")
    assert "--heldout" in caught.value.hint


def test_place_of_is_absolute(write, tmp_path, monkeypatch):
    write("agent.py", "")
    monkeypatch.chdir(tmp_path)
    assert place_of("agent.py:agent", "the agent") == (tmp_path / "agent.py", "agent")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tasks_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.jsonl").write_bytes('{"q": "caf\u00e9"}\n'.encode(encoding))
    assert read_tasks(tmp_path / "a.jsonl") == [{"q": "caf\u00e9"}]
