"""Functions of a file as pieces of its text: what stands before, the head, the body, in every language with a grammar.

::

    import os                                   before
                                                before
    def area(width, height):                    head (comment, decorators and docstring too)
        \"\"\"Square metres.\"\"\"                    head
        return width * height                   body
    print(area(2, 3))                           after
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from homeground.corpus import SourceFile
from homeground.corpus.documentation import Documentation, documentation

_KINDS = frozenset({"function", "method", "macro"})


@dataclass(frozen=True, slots=True)
class Function:
    """One function; its texts are whole lines, and together they are its file.

    Attributes:
        path: of its file.
        language: name in the table of languages.
        symbol: dotted name.
        start, end: first and last line, from 1, its comment not counted.
        before: the file's lines above it.
        head: comment, decorators, signature and docstring.
        body: what follows.
        after: the file's lines below it.
        text: its documentation comment, cleaned; "" without one that is about it.
        summary: the first sentence of that.
        bare: the function without its comment, indented as at module level.
    """

    path: str
    language: str
    symbol: str
    start: int
    end: int
    before: str
    head: str
    body: str
    after: str
    text: str
    summary: str
    bare: str


def functions(source: SourceFile) -> list[Function]:
    """The functions of a file whose body stands on lines of its own and holds more than a comment."""
    lines = source.lines()
    found = [one for one in documentation(lines, source.language) if one.kind in _KINDS]
    return [made for one in found if (made := _function(source, one, lines)) is not None]


def _function(source: SourceFile, one: Documentation, lines: Sequence[str]) -> Function | None:
    # A comment that ends in column 0 ends with the line above: Rust's have their line break in them.
    said = [range(first[0], last[0] + (last[1] > 0)) for first, last in one.spans]
    top = min([one.start, *(rows.start for rows in said)])
    inside = max((rows.stop for rows in said if rows.start > one.head_end), default=0)
    body = max(one.head_end + 1, inside)
    beside = any(lines[row - 1].encode("utf-8", "replace")[col:].strip() for _, (row, col) in one.spans if col > 0)
    if beside or top > one.start or not any(map(str.isalnum, "".join(lines[body - 1 : one.end]))):
        return None
    about = one.conventional and not one.unusable
    without = [
        line for at, line in enumerate(lines[one.start - 1 : one.end], one.start) if not any(at in r for r in said)
    ]
    return Function(
        source.path,
        source.language.name,
        one.symbol,
        one.start,
        one.end,
        before=_joined(lines[: top - 1]),
        head=_joined(lines[top - 1 : body - 1]),
        body=_joined(lines[body - 1 : one.end]),
        after="\n".join(lines[one.end :]),
        text=one.text if about else "",
        summary=one.summary if about else "",
        bare=textwrap.dedent(_joined(without)),
    )


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
