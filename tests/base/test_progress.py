import os
import pty
import subprocess
import sys

from homeground.base import progress as module
from homeground.base.progress import Progress


def test_without_a_terminal_each_stage_is_a_start_and_a_result_on_stderr(capsys):
    with Progress() as progress:
        bar = progress.bar("embedding chunks", total=20)
        bar.advance(20, note="fast")
        bar.done("20 embedded")
        progress.line("kept [brackets]")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "embedding chunks ... (20)",
        "embedding chunks: 20 embedded (0:00)",
        "kept [brackets]",
    ]


def test_plain_lines_say_how_far_it_is_and_how_long_it_will_take(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Progress() as progress:
        bar = progress.bar("training")
        bar.expect(40)
        now[0] += 9.9
        bar.advance(5)
        now[0] += 65.1
        bar.advance(5, note="loss 1.20")
    assert capsys.readouterr().err.splitlines() == [
        "training ...",
        "training 10/40, 1:15 gone, about 3:45 left  loss 1.20",
    ]


def test_the_time_left_is_not_told_from_almost_nothing_done(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Progress() as progress:
        bar = progress.bar("embedding", total=902)
        for kilobytes in (4, 296):
            now[0] += 20
            bar.advance(kilobytes)
    assert capsys.readouterr().err.splitlines() == [
        "embedding ... (902)",
        "embedding 4/902, 0:20 gone",
        "embedding 300/902, 0:40 gone, about 1:20 left",
    ]


def test_quiet_shows_nothing(capsys):
    with Progress(quiet=True) as progress:
        bar = progress.bar("training", total=2)
        bar.advance()
        bar.done("done")
        progress.line("a line")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_bars_are_drawn_on_stderr_and_stdout_stays_clean():
    script = """
from homeground.base.progress import Progress
with Progress() as progress:
    bar = progress.bar("reading [x]", total=4)
    bar.advance(2, note="half [y]")
    progress._rich.refresh()
    print("a result")
    bar.advance(2)
    bar.done("4 read [z]")
"""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    drawn = b""
    try:
        while block := os.read(ours, 65536):
            drawn += block
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b"a result\n"
    text = drawn.decode()
    assert "reading [x]" in text
    assert "2/4" in text
    assert "half [y]" in text
    assert "eta" in text
    assert "4 read [z]" in text
