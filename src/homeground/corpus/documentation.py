"""Extract the documentation comment of each definition of a file, in every language that has a grammar.

A comment belongs to a definition by its position: right above it (annotations, attributes and signatures may stand
between), as the first thing inside it (Python's docstrings, Rust's `//!`, Elixir's `@moduledoc`), behind it on the same
line (Doxygen's `///<`) or in a statement of its own (SQL's `COMMENT ON`). The differences between languages are
the rows of `STYLES`.

::

    // Sum adds the prices of a basket; it ignores what is sold out.
    //
    // Deprecated: use Total.
    func Sum(basket []Item) int {

    symbol "Sum", summary "Adds the prices of a basket; it ignores what is sold out."
"""

from __future__ import annotations

import ast
import inspect
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeground.corpus.comment_text import BLOCKS, summary_of, unframed, unmarked, unusable
from homeground.corpus.grammar import Defined, Syntax, body_of, parse, rows
from homeground.corpus.languages import Language
from homeground.corpus.outline import head_of

if TYPE_CHECKING:
    from tree_sitter import Node

type Place = tuple[int, int]
"""Line, from 1, and column in UTF-8 bytes, from 0."""
type Span = tuple[Place, Place]
"""A run of text: where it starts and where it ends, exclusive."""


@dataclass(frozen=True, slots=True)
class Documentation:
    """The documentation comment of one definition.

    Attributes:
        symbol: dotted name of the definition, as `Definition.symbol`.
        kind: as `Definition.kind`.
        line: line of the definition's name, from 1; tells overloads apart.
        start: first line of the definition, from 1, its decorators and attributes included.
        end: its last line, inclusive.
        head_end: as `Definition.head_end`.
        text: the comment without its marks, indentation cleaned.
        summary: its first sentence on one line, without markup and without the definition's own name in front.
        spans: where the comment stands: start and end of each of its parts, ends exclusive.
        conventional: written in the form that the language has for documentation, not as a plain comment.
        unusable: why the comment says nothing about the definition (a licence, a directive, code), else "".
    """

    symbol: str
    kind: str
    line: int
    start: int
    end: int
    head_end: int
    text: str
    summary: str
    spans: tuple[Span, ...]
    conventional: bool
    unusable: str = ""


@dataclass(frozen=True)
class Style:
    """Documentation of one language.

    Attributes:
        marks: how a comment above a definition begins that is documentation by the language's convention.
        inside: how a comment begins that documents the definition around it; "string" for a literal.
        after: how a comment begins that documents the definition before it.
        first_line_only: the marks stand on the first of several line comments (Haddock).
        lead: a statement above (or first inside) the definition that holds its documentation as a literal; groups
            `word` and `text`.
        statement: a statement elsewhere in the file, with the groups `name` and `text`.
    """

    marks: str
    inside: str | None = None
    after: str | None = None
    lead: str | None = None
    first_line_only: bool = False
    statement: str | None = None


ANY = r""
_JAVADOC = r"/\*\*(?![*/])"
_DOXYGEN_AFTER = r"/\*[*!]<|//[/!]<"
UNDOCUMENTED = "no documentation comment"

STYLES: dict[str, Style] = {
    "python": Style(r"(?!)", inside="string"),
    "javascript": Style(_JAVADOC),
    "typescript": Style(_JAVADOC),
    "tsx": Style(_JAVADOC),
    "go": Style(ANY),
    "rust": Style(r"///(?!/)|/\*\*(?![*/])", inside=r"//!|/\*!"),
    "java": Style(_JAVADOC + r"|///(?!/)"),
    "kotlin": Style(_JAVADOC),
    "scala": Style(_JAVADOC),
    "c": Style(ANY, after=_DOXYGEN_AFTER),
    "cpp": Style(ANY, after=_DOXYGEN_AFTER),
    "csharp": Style(r"///(?!/)|/\*\*(?![*/])"),
    "ruby": Style(ANY),
    "php": Style(_JAVADOC),
    "swift": Style(r"///(?!/)|/\*\*(?![*/])"),
    "lua": Style(ANY),
    "bash": Style(ANY),
    "sql": Style(
        ANY,
        statement=r"(?is)\bCOMMENT\s+ON\s+(?:[a-z]+\s+){1,2}(?P<name>[\w.\"]+)\s*(?:\([^)]*\)\s*)?IS\s+"
        r"'(?P<text>(?:[^']|'')*)'\s*;?",
    ),
    "haskell": Style(r"--\s*\||\{-\s*\|", after=r"--\s*\^|\{-\s*\^", first_line_only=True),
    "elixir": Style(
        r"(?!)",
        lead=r"(?s)@(?P<word>doc|moduledoc|typedoc)\s+(?:~[sS])?(?P<quote>\"\"\"|'''|\")(?P<text>.*?)(?<!\\)(?P=quote)",
    ),
    "ocaml": Style(r"\(\*\*(?!\*)", after=r"\(\*\*(?!\*)"),
    "zig": Style(r"///(?!/)"),
    "julia": Style(r"\"|@doc"),
    "hcl": Style(ANY),
}
"""Forms of documentation by language; a language with a grammar that has no row has none (CSS, TOML, YAML)."""


def documentation(lines: Sequence[str], language: Language) -> list[Documentation]:
    """The definitions of a file with their documentation comments, outer ones first, in the order of their lines.

    A definition without a comment has an empty text, and `UNDOCUMENTED` says so. A comment
    belongs to one definition: the outermost of those that begin on the line below it.

    Args:
        lines: the file's lines without terminators (`SourceFile.lines`).
        language: its row in the table of languages.
    """
    style = STYLES.get(language.name)
    syntax = parse(lines, language) if style is not None else None
    if style is None or syntax is None:
        return []
    return list(_Finder(lines, syntax, style).found())


_STATEMENT = re.compile(r"(?<!body)(?<!block)_(?:declaration|statement|definition|item)$")


@dataclass(frozen=True, slots=True)
class _Read:
    text: str
    spans: tuple[Span, ...]
    conventional: bool


class _Finder:
    """Pairs the comments of one file with its definitions."""

    def __init__(self, lines: Sequence[str], syntax: Syntax, style: Style) -> None:
        self._lines = lines
        self._syntax = syntax
        self._style = style
        self._comments = sorted(syntax.comment_nodes, key=lambda node: node.start_byte)
        if self._comments and _source(self._comments[0]).startswith("#!"):
            del self._comments[0]
        self._rows = [node.start_point.row for node in self._comments]
        self._bytes = [node.start_byte for node in self._comments]
        self._asides = syntax.comments | syntax.leads
        self._heads = {one.start for one in syntax.definitions}
        self._taken: set[int] = set()
        self._before = 0  # where the definition before this one begins: comments above it are not this one's

    def found(self) -> Iterator[Documentation]:
        elsewhere = self._statements()
        begun = 0
        for one in self._syntax.definitions:
            if one.node.start_byte > begun:
                self._before, begun = begun, one.node.start_byte
            start = self._first_row(one)
            read = self._literal(one, start) or self._comment(one, start)
            read = read or elsewhere.get(one.symbol.lower()) or elsewhere.get(one.name.lower())
            if read is None or not read.text:
                read = _Read("", (), False)
            while start - 1 in self._syntax.leads:
                start -= 1
            summary = summary_of(read.text, one.symbol)
            yield Documentation(
                symbol=one.symbol,
                kind=one.kind,
                line=one.row + 1,
                start=start + 1,
                end=one.stop,
                head_end=head_of(one, self._syntax, self._lines)[0] + 1,
                text=read.text,
                summary=summary,
                spans=read.spans,
                conventional=read.conventional,
                unusable=unusable(read.text, summary) if read.text else UNDOCUMENTED,
            )

    def _first_row(self, one: Defined) -> int:
        """First row of the statement that ends with the definition: `template <...>`, `export`, decorators."""
        node, row = one.node, one.start
        while (parent := node.parent) is not None and _STATEMENT.search(parent.type) and parent.parent is not None:
            if parent.end_byte - node.end_byte > 1:
                break
            node, row = parent, min(row, parent.start_point.row)
        return row

    def _comment(self, one: Defined, start: int) -> _Read | None:
        style = self._style
        if style.inside and (nodes := self._inside(one)):
            return self._read(nodes, True)
        if style.after and (nodes := self._after(one)):
            return self._read(nodes, True)
        nodes = [node for node in self._above(one, start) if node.id not in self._taken]
        if style.after and style.after != style.marks:
            nodes = [node for node in nodes if not _begins(style.after, node)]
        marked = [at for at, node in enumerate(nodes) if _begins(style.marks, node)]
        if not marked:
            return self._read(_last_run(nodes), False) if nodes else None
        if style.marks == ANY:
            return self._read(_last_run(nodes), True)
        if _is_block(nodes[marked[-1]]):
            return self._read([nodes[marked[-1]]], True)
        last = len(nodes) if style.first_line_only else marked[-1] + 1
        return self._read(nodes[marked[0] : last], True)

    def _above(self, one: Defined, start: int) -> list[Node]:
        """Comments right above the definition; a block that is documentation may be one blank line away."""
        row = start
        while row - 1 in self._asides:
            row -= 1
        begin = max(bisect_left(self._rows, row), bisect_left(self._bytes, self._before))
        end = min(bisect_left(self._rows, start + 1), bisect_left(self._bytes, one.node.start_byte))
        nodes = self._comments[begin:end]
        if nodes or row < 2 or self._lines[row - 1].strip() or self._style.marks == ANY:
            return nodes
        stop = row - 1
        row = stop
        while row - 1 in self._syntax.comments:
            row -= 1
        return [n for n in self._from(row, stop) if _begins(self._style.marks, n) and _is_block(n)][-1:]

    def _inside(self, one: Defined) -> list[Node]:
        """The marked comments among the first things of the body."""
        body = body_of(one.node)
        if body is None or self._style.inside is None:
            return []
        first = next((n.start_byte for n in body.named_children if n.id not in self._syntax.asides), body.end_byte)
        inner = self._comments[bisect_left(self._bytes, body.start_byte) : bisect_left(self._bytes, first)]
        return [node for node in inner if _begins(self._style.inside, node)]

    def _after(self, one: Defined) -> list[Node]:
        """A marked comment behind the definition, on its last row or the next, and the rows that go on with it."""
        found: list[Node] = []
        if self._style.after is None:
            return found
        for at in range(bisect_left(self._bytes, one.node.end_byte), len(self._comments)):
            node, row = self._comments[at], self._rows[at]
            if node.id in self._taken and row <= one.stop:
                continue
            if found:
                if row != rows(found[-1])[1] or not self._style.first_line_only:
                    break
            elif row > one.stop or not _begins(self._style.after, node):
                break
            elif self._style.after == self._style.marks and rows(node)[1] in self._heads:
                break  # it stands right above the next definition
            found.append(node)
        return found

    def _literal(self, one: Defined, start: int) -> _Read | None:
        if self._style.inside == "string":
            return self._docstring(one)
        if self._style.lead is None:
            return None
        inner = one.kind in ("module", "interface")
        if inner:
            after = (other.start for other in self._syntax.definitions if other.start > one.start)
            first, stop = one.row + 1, min(one.stop, next(after, one.stop))
        else:
            first, stop = start, start
            while first - 1 in self._syntax.leads or first - 1 in self._syntax.comments:
                first -= 1
        text = "\n".join(self._lines[first:stop])
        for match in re.finditer(self._style.lead, text):
            if match["word"].startswith("module") == inner:
                return _Read(inspect.cleandoc(match["text"].replace('\\"', '"')), (_places(text, match, first),), True)
        return None

    def _docstring(self, one: Defined) -> _Read | None:
        """Python's: the string that is the body's first statement."""
        body = body_of(one.node)
        node = next((child for child in body.named_children if child.type != "comment"), None) if body else None
        if node is not None and node.type == "expression_statement" and node.named_child_count == 1:
            node = node.named_children[0]
        if node is None or node.type not in ("string", "concatenated_string"):
            return None
        try:
            value: object = ast.literal_eval(_source(node))
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None  # an f-string, or a string that does not end: no docstring to Python either
        return _Read(inspect.cleandoc(value), (_span(node),), True) if isinstance(value, str) else None

    def _statements(self) -> dict[str, _Read]:
        """Documentation that stands in statements of its own, by the lower-cased name that it is about."""
        if self._style.statement is None:
            return {}
        text = "\n".join(self._lines)
        found: dict[str, _Read] = {}
        for match in re.finditer(self._style.statement, text):
            name = match["name"].replace('"', "").lower()
            read = _Read(match["text"].replace("''", "'"), (_places(text, match, 0),), True)
            found.setdefault(name, read)
            found.setdefault(name.rpartition(".")[2], read)
        return found

    def _from(self, first: int, stop: int) -> list[Node]:
        """Comments that begin in the rows [first, stop)."""
        return self._comments[bisect_left(self._rows, first) : bisect_left(self._rows, stop)]

    def _read(self, nodes: Sequence[Node], conventional: bool) -> _Read:
        self._taken.update(node.id for node in nodes)
        text = unframed("\n".join(unmarked(_source(node)) for node in nodes))
        if not _is_block(nodes[0]) and not _begins('["@]', nodes[0]):
            text = f"\n{text}"  # the first line is indented as the others are
        return _Read(inspect.cleandoc(text).strip(), tuple(_span(node) for node in nodes), conventional)


def _begins(marks: str, node: Node) -> bool:
    return re.match(marks, _source(node)) is not None


def _is_block(node: Node) -> bool:
    return any(re.match(opens, _source(node)) for opens, _, _ in BLOCKS)


def _last_run(nodes: Sequence[Node]) -> Sequence[Node]:
    """The last block comment, or the line comments behind the last block."""
    blocks = [at for at, node in enumerate(nodes) if _is_block(node)]
    if not blocks:
        return nodes
    return nodes[blocks[-1] :] if blocks[-1] == len(nodes) - 1 else nodes[blocks[-1] + 1 :]


def _source(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace").removesuffix("\n")  # Rust's line comments hold their line end


def _span(node: Node) -> Span:
    (first, left), (last, right) = node.start_point, node.end_point
    if right == 0 and last > first:
        ending = (node.text or b"").removesuffix(b"\n")
        last, right = last - 1, len(ending) - (ending.rfind(b"\n") + 1)
        right += left if last == first else 0
    return (first + 1, left), (last + 1, right)


def _places(text: str, match: re.Match[str], first: int) -> Span:
    begin, end = match.span()
    return _place(text, begin, first), _place(text, end, first)


def _place(text: str, at: int, first: int) -> Place:
    line = text.rfind("\n", 0, at) + 1
    return first + text.count("\n", 0, at) + 1, len(text[line:at].encode("utf-8", "replace"))
