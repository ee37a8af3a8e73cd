"""What a file defines, calls and imports: the ground that symbols, skeletons and call traces stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeground.corpus.encoding import nfc
from homeground.corpus.grammar import Defined, Syntax, body_of, enclosing, parse
from homeground.corpus.languages import Language
from homeground.corpus.names import own_name

_SIGNATURE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, class or other thing with a name.

    Attributes:
        symbol: dotted names from the outermost definition to this one; also `Chunk.symbol` of its chunk.
        name: the last of them.
        kind: as `Chunk.kind`: "function", "method", "class", "struct", "interface", "enum", "trait", "module", ...;
            "member" is declared without a body.
        start: first line, 1-based, its decorators and attributes included.
        end: last line, inclusive.
        line: the line with the name.
        head_end: the last line of its head; the body begins there or on the next line.
        signature: the head on one line, without decorators.
    """

    symbol: str
    name: str
    kind: str
    start: int
    end: int
    line: int
    head_end: int
    signature: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A call.

    Attributes:
        name: what is called or made.
        qualifier: what stands before its dot ("json" in json.dumps); "?" where that is a long expression.
        line: 1-based.
        symbol: the innermost definition that calls; "" at module level.
    """

    name: str
    qualifier: str
    line: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Import:
    """A name taken from another module.

    Attributes:
        module: as it is written.
        name: what is taken out of it: "" for the module itself, "*" for all.
        alias: what it is called in this file; "" where the file does not say.
        line: 1-based.
    """

    module: str
    name: str
    alias: str
    line: int


@dataclass(frozen=True, slots=True)
class Outline:
    """Definitions (outer ones first), calls and imports of one file, each in the order of their lines."""

    definitions: tuple[Definition, ...] = ()
    references: tuple[Reference, ...] = ()
    imports: tuple[Import, ...] = ()


def outline(lines: Sequence[str], language: Language) -> Outline:
    """The outline of a file; an empty one where its language has no grammar.

    Args:
        lines: the file's lines without terminators (`SourceFile.lines`).
        language: its row in the table of languages.
    """
    lines = [nfc(line) for line in lines]
    syntax = parse(lines, language, calls=True)
    if syntax is None:
        return Outline()
    calls = sorted(syntax.calls, key=lambda call: call.byte)
    callers = enclosing(syntax.definitions, [call.byte for call in calls])
    return Outline(
        tuple(_definition(one, syntax, lines) for one in syntax.definitions),
        tuple(
            Reference(call.name, call.qualifier, call.row + 1, caller.symbol if caller is not None else "")
            for call, caller in zip(calls, callers, strict=True)
        ),
        tuple(Import(one.module, one.name, one.alias, one.row + 1) for one in syntax.imports),
    )


def _definition(one: Defined, syntax: Syntax, lines: Sequence[str]) -> Definition:
    start = one.start
    while start - 1 in syntax.leads:
        start -= 1
    last, head = head_of(one, syntax, lines)
    return Definition(
        symbol=one.symbol,
        name=own_name(one.symbol),
        kind=one.kind,
        start=start + 1,
        end=one.stop,
        line=one.row + 1,
        head_end=last + 1,
        signature=" ".join(head.split()).removesuffix("{").rstrip()[:_SIGNATURE_CHARACTERS],
    )


def head_of(one: Defined, syntax: Syntax, lines: Sequence[str]) -> tuple[int, str]:
    """The last row before the body (or that of the name, where no body is told apart), and the text to there."""
    body = body_of(one.node)
    last, tail = max(one.row, one.start), None
    if body is not None and body.start_byte > one.node.start_byte:
        last, column = body.start_point
        tail = lines[last].encode("utf-8", "replace")[:column].decode("utf-8", "replace")
        if not tail.strip():
            last, tail = last - 1, None

    def aside(row: int) -> bool:
        return row in syntax.leads or row in syntax.comments

    head = [lines[row] for row in range(one.start, last + 1) if row == one.row or not aside(row)]
    while last > one.row and (aside(last) or not lines[last].strip()):
        last -= 1
    return last, " ".join(head if tail is None else [*head[:-1], tail])
