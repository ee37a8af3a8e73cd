"""`homeground index --watch` as people and programs run it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from homeground.base.errors import HomegroundError
from homeground.index.build import IndexReport
from homeground.index.watch import watch

PROGRAM = (
    "import sys; from tests.index.fake import fake_embedding; fake_embedding()\n"
    "from homeground.cli import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def watching(village, tmp_path):
    """Starts the verb on the village; ends it when the test is over."""
    started = []

    def start(*options):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM,
                "index",
                str(village),
                "--watch",
                "--home",
                str(tmp_path / "home"),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_each_change_is_one_line_of_json_and_ctrl_c_ends_it(village, watching):
    process = watching("--json")
    first = json.loads(process.stdout.readline())
    assert first["files"] == first["changed"] == 5
    (village / "new.py").write_text("def butter_bread(bread):\n    return bread\n")
    (village / "smithy" / "horses.py").unlink()
    second = json.loads(process.stdout.readline())
    assert (second["files"], second["changed"], second["gone"], second["embedded"]) == (5, 1, 1, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(out)["error"] == "interrupted"


def events(build, roots, workspace, changes, monkeypatch):
    monkeypatch.setattr("watchfiles.watch", lambda *_, **__: iter(changes))
    return list(watch(build, roots, workspace))


def report(changed=0, gone=0):
    return IndexReport([], 1, 1, 0, 1, changed=changed, gone=gone)


def test_what_changes_nothing_is_no_event(tmp_path, monkeypatch):
    results = iter([report(5), report(), report(1), report()])
    found = events(lambda: next(results), [tmp_path], tmp_path, [set(), {1}, {1}, set()], monkeypatch)
    assert [event.changed for event in found] == [5, 1]


def test_an_error_is_told_once_and_so_is_that_it_is_over(tmp_path, monkeypatch):
    results = iter([report(5), report(), "gone", "gone", report(), report()])

    def build():
        result = next(results)
        if result == "gone":
            raise HomegroundError("no file to index")
        return result

    found = events(build, [tmp_path], tmp_path, [set(), {1}, {1}, {1}, {1}], monkeypatch)
    assert [type(event).__name__ for event in found] == ["IndexReport", "HomegroundError", "IndexReport"]
