"""Extract definitions with their symbols, calls and imports from a file with its language's grammar.

Each language is one query in `grammars/NAME.scm`, in tree-sitter's own query language. Its captures:

- `@function`, `@class` and the other kinds below: a node that defines something; `@name` holds its name, `@owner` the
  type that it belongs to where that stands elsewhere (a receiver in Go). `@member` is declared without a body: it is
  listed, and stays in the chunk around it. `(#set! named "operator NAME")` puts its name into another text.
- `@comment`, `@lead`: what stays with the definition below it; a lead (decorator, attribute, signature) is also counted
  among the definition's own lines.
- `@call` with `@qualifier`: what is called or made, and what stands before its dot.
- `@module`, `@import`, `@alias`: what is imported, and the name it has here. `(#set! binds "first")` says that a plain
  import binds the first part of the module's name and not the last, "none" that it binds no name.

A query whose first line is `; inherits: NAME` has the patterns of that one as well.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from homeground.corpus.languages import LANGUAGE_BY_NAME, Language
from homeground.corpus.macros import ALWAYS, STEPS, spans
from homeground.corpus.mend import Mender
from homeground.corpus.names import clean_name, without_noise

if TYPE_CHECKING:
    from tree_sitter import Language as Grammar
    from tree_sitter import Node, Query, Tree

CLASSES = frozenset({"class", "struct", "interface", "enum", "trait", "impl", "object"})
"""Kinds whose functions are methods."""

_INHERITS = "; inherits: "

CONTAINERS = CLASSES | {"module", "section"}
"""Kinds that are cut at the definitions inside them."""

KINDS = CONTAINERS | {"function", "method", "macro", "type", "table", "view", "rule", "member"}

_MATCHES_AT_ONCE = 1024
_SAMPLE = 1000
_MAX_DEPTH = 10_000
_MAX_CHILDREN = 4000
_MAX_ANCESTORS = 100
_BODY = re.compile(r"(?:^|_)(?:body|block|declarations)$|^(?:struct|enum|union)_declaration$")
_CPP = re.compile(
    rb"^[ \t]*(?:class[ \t]+\w[\w \t:<>,]*(?:\n[ \t]*)?[{;]|namespace(?:[ \t]+[\w:]+)?\s*\{"
    rb"|template[ \t]*<|export[ \t]+module\b|(?:public|private|protected)[ \t]*:[ \t]*$)",
    re.MULTILINE,
)
_OWNER = re.compile(r"[^\W\d][\w.]*")


@dataclass(slots=True)
class Defined:
    """A definition: rows are 0-based, `stop` is the row after the last one; of two patterns the earlier decides."""

    node: Node
    pattern: int
    name: str
    symbol: str
    kind: str
    start: int
    stop: int
    row: int


@dataclass(slots=True)
class Called:
    """A call: its name, what stands before it, and where."""

    name: str
    qualifier: str
    row: int
    byte: int


@dataclass(slots=True)
class Imported:
    """An import: `alias` is the name it has in this file, "" where that is not known."""

    module: str
    name: str
    alias: str
    row: int

    @property
    def label(self) -> str:
        """Module and name with a dot between."""
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass(slots=True)
class Syntax:
    """A parsed file.

    Attributes:
        root: the tree's root.
        definitions: outer ones before inner ones, in the order of their lines.
        calls: in order; empty unless they were asked for.
        imports: in order.
        asides: nodes that are comments or leads.
        comment_nodes: the comments.
        comments: rows that begin with a comment.
        leads: rows that belong to a lead.
    """

    root: Node
    definitions: list[Defined] = field(default_factory=list["Defined"])
    calls: list[Called] = field(default_factory=list["Called"])
    imports: list[Imported] = field(default_factory=list["Imported"])
    asides: set[int] = field(default_factory=set[int])
    comment_nodes: list[Node] = field(default_factory=list["Node"])
    comments: set[int] = field(default_factory=set[int])
    leads: set[int] = field(default_factory=set[int])


def parse(lines: Sequence[str], language: Language, *, calls: bool = False) -> Syntax | None:
    """Parse the lines with the language's grammar and extract definitions, calls and imports.

    Args:
        lines: without terminators.
        language: its row in the table.
        calls: whether calls are wanted too; they take as long as the rest.

    A file with syntax errors is parsed again without the spans that seem to cause them (`macros`, `mend`). The second
    parse is used if it has no fewer correctly indented definitions; the omitted spans are taken from the first one.

    Returns:
        None if there is no grammar (or its wheel is not installed), and for trees that real code does not have: nested
        ten thousand deep, or one error over thousands of tokens.
    """
    if language.grammar is None:
        return None
    source = "\n".join(lines).encode("utf-8", "replace")
    if (always := ALWAYS.get(language.name)) is not None:
        source = always(source)
    tree = _tree(source, language)
    if tree is not None and language.fallback is not None:
        other, certain = LANGUAGE_BY_NAME[language.fallback], _CPP.search(source) is not None
        second = _tree(source, other) if certain or tree.root_node.has_error else None
        if second is not None and (certain or _faults(second) < _faults(tree)):
            tree, language = second, other
    if tree is None:
        return None
    if not tree.root_node.has_error:
        return _found(tree, language, lines, calls) if _is_tame(tree) else None
    first, read = tree, source
    for step in STEPS.get(language.name, ()):
        less = step(read)
        if less != read and (second := _tree(less, language)) is not None and _damage(second) < _damage(tree):
            read, tree = less, second
    best = _found(tree, language, lines, calls, first, list(spans(source, read))) if _is_tame(tree) else None
    if (mended := _mended(read, tree, language)) is not None and (second := _tree(mended, language)) is not None:
        more = _found(second, language, lines, calls, first, list(spans(source, mended))) if _is_tame(second) else None
        if best is None or (more is not None and _laid_out(more, lines) >= _laid_out(best, lines)):
            best = more
    return best


def _mended(source: bytes, tree: Tree, language: Language) -> bytes | None:
    """Blank the constructs that the grammar does not support; None if that removes no error."""
    from tree_sitter import QueryCursor

    def survey(text: bytes) -> tuple[bool, int]:
        piece = _tree(prelude + text.replace(prelude, b"", 1) if prelude else text, language)
        if piece is None or _damage(piece) or not _is_tame(piece):
            return True, 0
        matches = QueryCursor(query, match_limit=_MATCHES_AT_ONCE).matches(piece.root_node)
        return False, len({captures["name"][0].start_byte for _, captures in matches if "name" in captures})

    query = _query(language, False)
    root = tree.root_node
    wrong = [rows(node) for node in ([root] if root.is_error else root.children) if node.has_error] or [rows(root)]
    prelude = b"<?php" if language.name == "php" and b"<?" in source else b""
    return Mender(source, survey).mend(min(wrong)[0], max(stop for _, stop in wrong))


def _found(
    tree: Tree,
    language: Language,
    lines: Sequence[str],
    calls: bool,
    first: Tree | None = None,
    omitted: Sequence[tuple[int, int]] = (),
) -> Syntax:
    """Collect the query's matches in a tree, and those of the first tree within the omitted spans."""
    from tree_sitter import QueryCursor

    query = _query(language, calls)
    syntax = Syntax(tree.root_node)
    for pattern, captures in QueryCursor(query, match_limit=_MATCHES_AT_ONCE).matches(tree.root_node):
        _keep(syntax, pattern, captures, lines, query)
    if first is not None and omitted and _is_tame(first):
        starts = [start for start, _ in omitted]
        for pattern, captures in QueryCursor(query, match_limit=_MATCHES_AT_ONCE).matches(first.root_node):
            nodes = [node for some in captures.values() for node in some]
            at = bisect_right(starts, min(node.start_byte for node in nodes)) - 1
            if at >= 0 and max(node.end_byte for node in nodes) <= omitted[at][1]:
                _keep(syntax, pattern, captures, lines, query)
    _name_symbols(syntax)
    return syntax


def _tree(source: bytes, language: Language) -> Tree | None:
    from tree_sitter import Parser

    grammar = _grammar(language)
    return None if grammar is None else Parser(grammar).parse(source)


def _faults(tree: Tree) -> int:
    """How many of the outermost nodes hold a syntax error."""
    return sum(child.has_error for child in tree.root_node.children) + tree.root_node.is_error


def _laid_out(syntax: Syntax, lines: Sequence[str]) -> int:
    """Count the definitions whose indentation matches their nesting; the others were swallowed by an error."""
    indents = [len(line) - len(line.lstrip()) for line in lines]
    found, around = 0, list[Defined]()
    for one in syntax.definitions:
        while around and around[-1].node.end_byte <= one.node.start_byte:
            around.pop()
        outer = around[-1] if around else None
        deeper = outer is None or one.start == outer.start or indents[one.start] > indents[outer.start]
        found += deeper or (outer is not None and outer.kind == "module")
        around.append(one)
    return found


def _damage(tree: Tree) -> int:
    """Count the bytes that no grammar rule covers; the missing line end of a one-line body does not count."""
    found, nodes = 0, [tree.root_node] if tree.root_node.has_error else []
    while nodes:
        node = nodes.pop()
        if node.is_error or (node.is_missing and "semi" not in node.type):
            found += 1 + node.end_byte - node.start_byte
        elif node.has_error:
            nodes.extend(node.children)
    return found


@cache
def _grammar(language: Language) -> Grammar | None:
    from tree_sitter import Language as Grammar

    if language.grammar is None:
        return None
    try:
        capsule: object = getattr(importlib.import_module(language.grammar), language.entry)()
    except ImportError:
        return None
    return Grammar(capsule)


@cache
def _query(language: Language, calls: bool) -> Query:
    from tree_sitter import Query

    grammar = _grammar(language)
    assert grammar is not None
    text = _patterns(language.query or language.name)
    query = Query(grammar, text)
    if not calls:
        data = text.encode()
        for pattern in range(query.pattern_count):
            if b"@call" in data[query.start_byte_for_pattern(pattern) : query.end_byte_for_pattern(pattern)]:
                query.disable_pattern(pattern)
    return query


def _patterns(name: str) -> str:
    """The text of a query, behind that of the one which its first line inherits."""
    text = resources.files("homeground.corpus").joinpath("grammars", f"{name}.scm").read_text("utf-8")
    first = text.partition("\n")[0]
    return _patterns(first.removeprefix(_INHERITS)) + text if first.startswith(_INHERITS) else text


def _is_tame(tree: Tree) -> bool:
    """False where a query would take quadratic time: very deep trees, and error nodes with thousands of children.

    Every thousandth node is looked at, in the order of the text: from one node to the next the depth grows by one at
    most, and an error node with that many children cannot lie between two of them.
    """
    root = tree.root_node
    if root.descendant_count < _MAX_CHILDREN:
        return True
    cursor = tree.walk()
    for index in range(0, root.descendant_count, _SAMPLE):
        cursor.goto_descendant(index)
        if cursor.depth > _MAX_DEPTH:
            return False
        if root.has_error:
            for _ in range(_MAX_ANCESTORS):
                node = cursor.node
                if node is not None and node.is_error and node.child_count > _MAX_CHILDREN:
                    return False
                if not cursor.goto_parent():
                    break
    return True


def _keep(syntax: Syntax, pattern: int, captures: Mapping[str, list[Node]], lines: Sequence[str], query: Query) -> None:
    """Adds what one match has found."""
    if (found := captures.get("comment") or captures.get("lead")) is not None:
        for node in found:
            syntax.asides.add(node.id)
            if "comment" in captures and node.type != "access_specifier":
                syntax.comment_nodes.append(node)
            row, column = node.start_point
            if not lines[row].encode("utf-8", "replace")[:column].strip():
                (syntax.comments if "comment" in captures else syntax.leads).update(range(*rows(node)))
    elif "name" in captures:
        kind = next((kind for kind in captures if kind in KINDS), "")
        if not kind:
            return
        node, name = captures[kind][0], captures["name"][0]
        if kind == "rule":
            text = " ".join(_text(name).split())
        else:
            text = ".".join(clean_name(_text(one)) for one in captures["name"])
        if named := query.pattern_settings(pattern).get("named"):
            text = clean_name(named.replace("NAME", text))
        if (owner := captures.get("owner")) and (match := _OWNER.search(_text(owner[0]))):
            text = without_noise(f"{match[0]}.{text}")
        start, stop = rows(node)
        syntax.definitions.append(Defined(node, pattern, text, text, kind, start, stop, name.start_point.row))
    elif "call" in captures:
        node = captures["call"][0]
        qualifier = _text(captures["qualifier"][0]).rstrip(".") if "qualifier" in captures else ""
        if "\n" in qualifier or len(qualifier) > 80:
            qualifier = "?"
        syntax.calls.append(Called(_text(node), qualifier, node.start_point.row, node.start_byte))
    elif "module" in captures:
        syntax.imports.append(_imported(captures, query.pattern_settings(pattern).get("binds")))


def _imported(captures: Mapping[str, list[Node]], binds: str | None) -> Imported:
    node = captures["module"][0]
    module = ".".join(_text(one) for one in captures["module"]).strip("\"'`;")
    module = module.removeprefix("<").removesuffix(">") if module.startswith("<") else module
    name = _text(captures["import"][0]) if "import" in captures else ""
    if "import" in captures and not name.isidentifier() and "*" in name:
        name = "*"
    if "alias" in captures:
        alias = _text(captures["alias"][0])
    elif name:
        alias = "" if name == "*" else re.split(r"[./:\\]+", name)[-1]
    else:
        parts = [part for part in re.split(r"[./:\\]+", module) if part]
        alias = parts[0 if binds == "first" else -1] if parts and binds != "none" else ""
    return Imported(module, name, alias, node.start_point.row)


def _name_symbols(syntax: Syntax) -> None:
    """Sorts the definitions and puts the names of those around each in front of its own."""
    unique: dict[int, Defined] = {}
    for one in syntax.definitions:
        if one.node.id not in unique or one.pattern < unique[one.node.id].pattern:
            unique[one.node.id] = one
    syntax.definitions = sorted(unique.values(), key=lambda one: (one.node.start_byte, -one.node.end_byte))
    around: list[Defined] = []
    for one in syntax.definitions:
        while around and around[-1].node.end_byte <= one.node.start_byte:
            around.pop()
        if around:
            one.symbol = f"{around[-1].symbol}.{one.name}"
            if one.kind == "function" and around[-1].kind in CLASSES:
                one.kind = "method"
        around.append(one)


def enclosing(definitions: Sequence[Defined], positions: Sequence[int]) -> Iterator[Defined | None]:
    """The innermost definition around each of the byte positions, which ascend."""
    around: list[Defined] = []
    at = 0
    for position in positions:
        while at < len(definitions) and definitions[at].node.start_byte <= position:
            around.append(definitions[at])
            at += 1
        while around and around[-1].node.end_byte <= position:
            around.pop()
        yield around[-1] if around else None


class Holdings:
    """Tells which nodes hold a definition that is cut out as a chunk of its own."""

    def __init__(self, definitions: Sequence[Defined]) -> None:
        cut = [one for one in definitions if one.kind != "member"]
        self._starts = [one.node.start_byte for one in cut]
        self._ends = [one.node.end_byte for one in cut]
        self._by_node = {one.node.id: one for one in cut}

    def defined(self, node: Node) -> Defined | None:
        """What the node itself defines."""
        return self._by_node.get(node.id)

    def hold(self, node: Node) -> bool:
        """Whether the node holds a definition (itself included)."""
        stop = node.end_byte
        at = bisect_left(self._starts, node.start_byte)
        while at < len(self._starts) and self._starts[at] < stop:
            if self._ends[at] <= stop:
                return True
            at += 1  # a definition around the node that begins where the node does
        return False


def body_of(node: Node) -> Node | None:
    """The node with a definition's statements or members, None where there is none."""
    row = node.start_point.row
    for _ in range(4):
        body = node.child_by_field_name("body")
        if body is not None:
            return body
        children = node.named_children
        for child in reversed(children):
            if _BODY.search(child.type):
                return child
        if not children or children[-1].start_point.row != row:
            return None
        node = children[-1]
    return None


def rows(node: Node) -> tuple[int, int]:
    """First row and the row after the last one; a node that ends at column 0 does not touch that row."""
    first, (last, column) = node.start_point.row, node.end_point
    if column == 0 and last > first:
        last -= 1
    return first, last + 1


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
