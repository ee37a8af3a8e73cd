import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from homeground.base.console import Console
from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.base.terminal import json_line, printable, printable_lines

HOSTILE = "a\x1b]0;title\x07b\x9b31mc\u202ed\u2066e\x7ff\r\x08g\udce9"


class Screen(io.StringIO):
    def isatty(self):
        return True


def obeyed(text, allowed="\n"):
    return [c for c in text if not c.isprintable() and c not in allowed and c not in " \t\u200c\u200d"]


@given(st.text())
def test_no_text_reaches_a_terminal_with_what_it_obeys(text):
    assert not {*printable(text)} & {*map(chr, range(9)), *map(chr, range(10, 32)), *map(chr, range(0x7F, 0xA0))}
    assert len(printable(text)) == len(text)
    assert printable_lines(text).count("\n") == text.count("\n")
    assert json.loads(json_line({"text": text})) == {"text": text}
    printable(text).encode()


def test_letters_of_all_scripts_stay_as_they_are():
    text = "na\u00efve\u00a0caf\u00e9 \u65e5\u672c\u3000\u8a9e \u06a9\u200c\u0647 \U0001f468\u200d\U0001f469\t!"
    assert printable(text) == text


def test_json_holds_what_a_terminal_obeys_as_escapes():
    line = json_line({"path": HOSTILE})
    assert line.isascii()
    assert json.loads(line) == {"path": HOSTILE}


@pytest.mark.parametrize("part", [HOSTILE, Text(HOSTILE), "k[/red].py", "[bold]x[/]", ":smile:"])
def test_a_console_draws_text_and_no_commands_and_no_markup(part):
    screen = Screen()
    table = Table("name", title=part)
    table.add_row(part)
    for one in (part, table):
        Console(screen).print(one)
    shown = screen.getvalue()
    plain = part.plain if isinstance(part, Text) else part
    assert all(code in "01234567;m[" for piece in shown.split("\x1b")[1:] for code in piece.partition("m")[0])
    assert not obeyed(shown, "\n\x1b")
    assert printable(plain)[:5] in shown


def test_bars_and_lines_of_progress_show_brackets_and_no_commands(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    for stream in (screen, piped := io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with Progress() as progress:
            progress.line(f"k[/red].py {HOSTILE}")
            bar = progress.bar(f"[/red] {HOSTILE}", total=2)
            bar.advance(note=HOSTILE)
            bar.done(HOSTILE)
    assert "k[/red].py" in screen.getvalue()
    assert "\x1b]0" not in screen.getvalue()
    assert "\x9b" not in screen.getvalue()
    assert not obeyed(piped.getvalue())


def test_where_and_hint_of_an_error_are_one_line_each():
    error = HomegroundError("two\nlines", where="a\nhint: rm -rf", hint="b\r\nc")
    assert str(error) == "two\nlines\nwhere: a\ufffdhint: rm -rf\nhint: b\ufffd\ufffdc"
