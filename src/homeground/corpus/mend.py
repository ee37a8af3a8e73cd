"""Parse a file around constructs that its grammar does not support.

One construct that is newer than a grammar can hide every definition below it. Indentation still shows which lines
belong together. So an erroneous file is split along its indentation, each piece is parsed alone within its enclosing
lines, and the smallest pieces with an error are replaced by spaces, so that byte and line positions do not change.
Each level of indentation parses its lines once, and a budget bounds the total.
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

Survey = Callable[[bytes], tuple[bool, int]]
"""Parses a text; returns true if it has a syntax error, and its number of definitions."""

_PARSES = 1000  # plus two a line
_MOST_PARSES = 10_000
_PASSES = 12
_SMALL = 100_000
_DEEPEST = 40
_TRIES = 48
_LONGEST_HEAD = 400
_OWN_ROWS = 8
_TAB = 4
_FILLER = b"0"  # placeholder for a required body
_QUOTED = rb'"(?:\\.|[^"\\\n])*"|' rb"'(?:\\.|[^'\\\n])*'|`[^`\n]*`"
_BRACKETS = re.compile(_QUOTED + rb"|//[^\n]*|(?P<bracket>[()\[\]{}])")
_TOKEN = re.compile(_QUOTED + rb"|[\w$@]+|\S")
_GOES_ON = re.compile(
    rb"[)\]}{.,|&?:=>]|\*/|-->|(?:end|else|elif|elsif|elseif|elsewhere|fi|done|esac|do|then|catch|except|finally|rescue"
    rb"|ensure|after|in|and|or|with|where|while|until|yield|when|case|default|of|deriving|AS|FROM|WHERE|BEGIN|END)\b"
)
_END = re.compile(rb"end\b")
_MODULE = re.compile(rb"(?:bare)?module\b(?!.*\bend\b)|(?:class|def|defmodule|namespace)\b[^{(=:;]*$")
_MULTILINE = re.compile(rb'"""|\'\'\'|/\*|\*/')
_CLOSES = {b'"""': b'"""', b"'''": b"'''", b"/*": b"*/"}
_TAKES_NEXT = re.compile(rb"#|//|--|;;|%\s|(?:public|private|protected|signals|slots|Q_SIGNALS|Q_SLOTS)[\w ]*:\s*$")
"""Directives, comments and labels may be indented freely: they take the indentation of the next line."""


@dataclass(slots=True)
class _Unit:
    """Rows [start, stop) that belong together; `own` are the rows at the unit's own indentation."""

    start: int
    stop: int
    own: list[int]

    @property
    def inner(self) -> list[tuple[int, int]]:
        """Ranges of the deeper rows, blank ones included."""
        edges = [*self.own, self.stop]
        return [(row + 1, below) for row, below in pairwise(edges) if row + 1 < below]


class Mender:
    """Finds the spans to omit.

    Args:
        source: the file.
        survey: parses a text in the file's language.
    """

    def __init__(self, source: bytes, survey: Survey) -> None:
        self._lines = source.split(b"\n")
        self._source = source
        self._survey = survey
        self._parses = min(_PARSES + 2 * len(self._lines), _MOST_PARSES)
        self._bytes = _PASSES * len(source) + _SMALL
        self._quoted = _quoted(self._lines)
        self._indents = _indents(self._lines, self._quoted)

    def mend(self, first: int, last: int) -> bytes | None:
        """Replace the spans of these rows that cannot be parsed with spaces; None if nothing helped."""
        with contextlib.suppress(_SpentError):  # spans mended so far are kept
            self._range(0, len(self._lines), b"", b"", 0, (first, last))
        mended = b"\n".join(self._lines)
        return mended if mended != self._source else None

    def _look(self, text: bytes) -> tuple[bool, int]:
        self._parses -= 1
        self._bytes -= len(text)
        if self._parses < 0 or self._bytes < 0:
            raise _SpentError
        return self._survey(text)

    def _fine(self, *texts: bytes) -> bool:
        return not self._look(b"\n".join(texts))[0]

    def _text(self, start: int, stop: int) -> bytes:
        return b"\n".join(self._lines[start:stop])

    def _range(
        self, start: int, stop: int, before: bytes, after: bytes, depth: int, within: tuple[int, int] | None = None
    ) -> None:
        """Mend rows of one level, the last first, so that a definition's lead is parsed together with it."""
        units = self._units(start, stop)
        end = stop
        for at in range(len(units) - 1, -1, -1):
            unit = units[at]
            apart = within is not None and (unit.stop <= within[0] or within[1] < unit.start)
            if apart or self._fine(before, self._text(unit.start, unit.stop), after):
                end = unit.stop
                continue
            leads = at + 1 < len(units) and self._fine(before, self._text(unit.start, end), after)
            if leads or (at > 0 and self._fine(before, self._text(units[at - 1].start, unit.stop), after)):
                continue
            if unit.inner and depth < _DEEPEST:
                self._inside(unit, before, after, depth)
            elif not self._trim(unit, before, after):
                self._blank(unit.start, unit.stop)
            end = unit.stop

    def _inside(self, unit: _Unit, before: bytes, after: bytes, depth: int) -> None:
        """Mend a unit's frame and its inner rows."""
        frame = self._frame(unit)
        filler = next((one for one in (b"", _FILLER) if self._fine(before, one.join(frame), after)), None)
        if filler is None and self._trim(unit, before, after):
            frame, filler = self._frame(unit), b""
        if filler is None:
            for start, stop in self._edges(unit):
                self._blank(start, stop)
            least = self._look(b"\n".join([before, after]))[1]
            for start, stop in unit.inner:
                self._range(start, stop, before, after, depth + 1)
                if self._look(b"\n".join([before, self._text(start, stop), after]))[1] <= least:
                    self._blank(start, stop)  # statements would continue the lines above
            return
        for at, (start, stop) in enumerate(unit.inner):
            around = b"\n".join([before, *frame[: at + 1]]), b"\n".join([*frame[at + 1 :], after])
            self._range(start, stop, *around, depth + 1)
            filled = [row for row in range(start, stop) if self._lines[row]]
            if filler and filled and not self._text(start, stop).strip():
                self._lines[filled[0]] = self._lines[filled[0]][: -len(filler)] + filler

    def _frame(self, unit: _Unit) -> list[bytes]:
        """The unit's own rows, without the deeper ones."""
        return [self._text(start, stop) + b"\n" for start, stop in self._edges(unit)]

    def _edges(self, unit: _Unit) -> list[tuple[int, int]]:
        edges = [unit.start, *(row for pair in unit.inner for row in pair), unit.stop]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def _trim(self, unit: _Unit, before: bytes, after: bytes) -> bool:
        """Omit one of the unit's own rows, or a part of its first, so that its frame can be parsed."""
        for row in unit.own[:0:-1][:_OWN_ROWS]:
            line = self._lines[row]
            self._blank(row, row + 1)
            if self._fine(before, b"".join(self._frame(unit)), after):
                return True
            self._lines[row] = line
        frame = b"".join(self._frame(unit))
        return self._shorten(unit.start, before, frame[len(self._lines[unit.start]) :], after)

    def _shorten(self, row: int, before: bytes, behind: bytes, after: bytes) -> bool:
        line = self._lines[row]
        if len(line) > _LONGEST_HEAD or not any(mark in line for mark in b"({[=:"):
            return False
        least = self._look(b"\n".join([before, after]))[1]
        best: tuple[int, int, bytes] | None = None
        for start, stop in _omissions(line):
            shorter = line[:start] + b" " * (stop - start) + line[stop:]
            wrong, count = self._look(b"\n".join([before, shorter + behind, after]))
            if not wrong and count > least and (best is None or (-count, stop - start) < best[:2]):
                best = -count, stop - start, shorter
        if best is not None:
            self._lines[row] = best[2]
        return best is not None

    def _blank(self, start: int, stop: int) -> None:
        for row in range(start, stop):
            self._lines[row] = b" " * len(self._lines[row])

    def _units(self, start: int, stop: int) -> list[_Unit]:
        """Split the rows into units that begin at the least indentation; a unit extends to its closing bracket."""
        filled = [row for row in range(start, stop) if self._indents[row] >= 0 and self._lines[row].strip()]
        if not filled:
            return []
        least = min(self._indents[row] for row in filled)
        own = [row for row in filled if self._indents[row] == least]
        heads = sorted({filled[0], *(row for row in own if row not in self._quoted and not self._goes_on(row))})
        units: list[_Unit] = []
        opened: list[tuple[int, str, int]] = []
        for head, below in zip(heads, [*heads[1:], stop], strict=True):
            end = filled[bisect_left(filled, below) - 1] + 1
            unit = _Unit(head, end, [row for row in own if head <= row < end] or [head])
            units.append(unit)
            kind, balance = self._balance(unit)
            if balance > 0:
                opened.append((len(units) - 1, kind, balance))
            elif balance < 0 and (same := [at for at, one in enumerate(opened) if one[1] == kind]):
                first, _, depth = opened[same[-1]]
                del opened[same[-1] :]
                if depth + balance > 0:
                    opened.append((first, kind, depth + balance))
                else:
                    opener = units[first]
                    closing = unit.own if units[first + 1 :] == [unit] else [unit.own[-1]]
                    units[first:] = [_Unit(opener.start, unit.stop, [*opener.own, *closing])]
        return units

    def _goes_on(self, row: int) -> bool:
        return _GOES_ON.match(self._lines[row].lstrip()) is not None

    def _balance(self, unit: _Unit) -> tuple[str, int]:
        """Kind of block that a unit opens or closes, and the number its own rows open minus the number they close."""
        ends = sum(_END.match(self._lines[row].lstrip()) is not None for row in unit.own)
        if _MODULE.match(self._lines[unit.start].lstrip()) or ends > 1:
            return "end", 1 - ends
        for kind in ("{}", "()", "[]"):
            if _balance(self._text(unit.start, unit.stop), kind):
                return kind, _balance(b"\n".join(self._lines[row] for row in unit.own), kind)
        return "", 0


class _SpentError(Exception):
    """The budget of a file is used up."""


def _quoted(lines: Sequence[bytes]) -> set[int]:
    """Rows that begin within a multi-line string or comment."""
    rows: set[int] = set()
    opened, since = b"", 0
    for row, line in enumerate(lines):
        if opened:
            rows.add(row)
        for mark in _MULTILINE.findall(line):
            if opened and mark == _CLOSES[opened]:
                opened = b""
            elif not opened and mark in _CLOSES:
                opened, since = mark, row
    return rows if not opened else {row for row in rows if row <= since}


def _indents(lines: Sequence[bytes], quoted: Collection[int]) -> list[int]:
    """Indentation of each row, -1 for blank ones."""
    found: list[int] = []
    below = 0
    for row in range(len(lines) - 1, -1, -1):
        text = lines[row].lstrip()
        if text and row not in quoted and not _TAKES_NEXT.match(text):
            below = len(lines[row][: len(lines[row]) - len(text)].expandtabs(_TAB))
        found.append(below if text else -1)
    found.reverse()
    for row in sorted(quoted):
        found[row] = found[row - 1]
    return found


def _balance(text: bytes, kind: str) -> int:
    brackets = [found["bracket"] for found in _BRACKETS.finditer(text)]
    return brackets.count(kind[0].encode()) - brackets.count(kind[1].encode())


def _omissions(line: bytes) -> list[tuple[int, int]]:
    """Candidate spans of a row to omit: bracketed groups with and without their word, tokens, leading parts."""
    tokens = [found.span() for found in _TOKEN.finditer(line)]
    groups: list[tuple[int, int]] = []
    opened: list[int] = []
    for at, (start, stop) in enumerate(tokens):
        mark = line[start:stop]
        if mark in (b"(", b"[", b"{"):
            opened.append(at)
        elif mark in (b")", b"]", b"}") and opened:
            first = opened.pop()
            groups += [(tokens[first][0], stop), (tokens[first][1], start), (tokens[max(first - 1, 0)][0], stop)]
    leading = [(tokens[0][0], stop) for _, stop in tokens[1:-1]]
    spans = dict.fromkeys([*groups, *tokens[:-1], *leading])
    return [(start, stop) for start, stop in spans if start < stop][:_TRIES]
