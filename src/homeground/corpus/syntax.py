"""Cuts a parsed file at the boundaries of its definitions.

Every function and method is a piece of its own, with its decorators, the comments right above it and its
docstring. What is left of a class (head, docstring, attributes) and of a module is packed together. A function
over the budget is split at the statements of its body, recursively, and its parts keep its symbol. The walk works
on line ranges, never on node texts, so whatever tree an erroneous file yields, the pieces partition its lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from homeground.corpus.grammar import CLASSES, CONTAINERS, Defined, Holdings, Syntax, body_of, rows
from homeground.corpus.pieces import Piece, Ruler, Span

if TYPE_CHECKING:
    from tree_sitter import Node

_MAX_DEPTH = 60
_HEADLESS = CONTAINERS - CLASSES | {
    "impl"
}  # nobody looks for the first line of a namespace: it stays with what follows


@dataclass(frozen=True, slots=True)
class _Scope:
    symbol: str
    kind: str


@dataclass(slots=True)
class _Part:
    """Lines [start, stop) and the node to cut them at, if any."""

    start: int
    stop: int
    node: Node | None

    @property
    def span(self) -> Span:
        return Span(self.start, self.stop)


class SyntaxSplitter:
    """Splits one file's tree into pieces that partition its lines."""

    def __init__(self, syntax: Syntax, ruler: Ruler) -> None:
        self._syntax = syntax
        self._ruler = ruler
        self._held = Holdings(syntax.definitions)
        self._leading = syntax.comments | syntax.leads

    def split(self, stop: int) -> list[Piece]:
        """Pieces of the lines [0, stop), in order."""
        pieces = self._container(Span(0, stop), self._syntax.root.named_children, _Scope("", "module"), 0)
        return self._ruler.join(pieces)

    def _container(
        self, span: Span, nodes: Sequence[Node], scope: _Scope, depth: int, compound: bool = False
    ) -> list[Piece]:
        pieces: list[Piece] = []
        loose: list[Span] = []

        clauses: list[Piece] = []

        def settle() -> None:
            pieces.extend(self._ruler.join(clauses, alike=True))
            clauses.clear()

        def flush() -> None:
            if loose:
                settle()
            pieces.extend(self._ruler.pack(loose, scope.symbol, scope.kind))
            loose.clear()

        for part in self._parts(span, nodes, with_head=compound):
            node = part.node
            if node is not None and depth < _MAX_DEPTH:
                defined = self._held.defined(node)
                if defined is not None:
                    flush()
                    found = self._define(part.span, defined, scope, depth + 1)
                    if len(found) == 1:
                        clauses.extend(found)
                    else:
                        settle()
                        pieces.extend(found)
                    continue
                if self._held.hold(node):
                    flush()
                    settle()
                    pieces.extend(self._container(part.span, self._inner(node), scope, depth + 1, compound=True))
                    continue
                loose.extend(self._explode(part, scope.symbol, depth + 1))
            else:
                loose.append(part.span)
        flush()
        settle()
        return pieces

    def _define(self, span: Span, defined: Defined, scope: _Scope, depth: int) -> list[Piece]:
        symbol = f"{scope.symbol}.{defined.name}" if scope.symbol else defined.name
        body = body_of(defined.node)
        nodes = body.named_children if body is not None else defined.node.named_children
        kind = defined.kind
        if kind in CONTAINERS:
            return self._container(span, nodes, _Scope(symbol, kind), depth, compound=kind in _HEADLESS)
        if self._ruler.fits(span, symbol):
            return [Piece(span.start, span.stop, symbol, kind)]
        parts = self._with_head(self._parts(span, nodes))
        spans = [small for part in parts for small in self._explode(part, symbol, depth)]
        return self._ruler.pack(spans, symbol, kind)

    def _explode(self, part: _Part, symbol: str, depth: int) -> list[Span]:
        """The part itself if it fits the budget, else the parts of its node, as small as needed."""
        if part.stop - part.start == 1 or self._ruler.fits(part.span, symbol):
            return [part.span]
        if part.node is None or depth >= _MAX_DEPTH:
            return self._ruler.by_line(part.span)
        inner = self._parts(part.span, part.node.named_children)
        return [span for small in inner for span in self._explode(small, symbol, depth + 1)]

    def _with_head(self, parts: list[_Part]) -> list[_Part]:
        """Joins decorators, signature and docstring, so that packing keeps them together where they fit."""
        stop = 0
        if parts and parts[0].node is None:
            stop = 1
        if len(parts) > stop and _is_string(parts[stop].node):
            stop += 1
        if stop < 2:
            return parts
        return [_Part(parts[0].start, parts[stop - 1].stop, None), *parts[stop:]]

    def _parts(self, span: Span, nodes: Sequence[Node], with_head: bool = True) -> list[_Part]:
        """Partition of the span: a part for each node with the comments right above it, and parts for the gaps.

        `with_head` keeps any line right above a node with it: `else:` belongs to what it introduces, but the head of a
        class does not belong to its first method.
        """
        ruler = self._ruler
        parts: list[_Part] = []
        cursor = span.start
        for node in nodes:
            if node.id in self._syntax.asides:
                continue
            start, stop = rows(node)
            start, stop = max(start, span.start), min(stop, span.stop)
            if stop <= start:
                continue
            if start < cursor:  # shares a line with the node before
                if parts:
                    parts[-1].node = self._weightier(parts[-1].node, node)
                    parts[-1].stop = cursor = max(cursor, stop)
                continue
            cursor = self._give_back(parts, cursor, start, node.start_point.column)
            lead = start
            while lead > cursor and (lead - 1 in self._leading or (with_head and not ruler.blank[lead - 1])):
                lead -= 1
            self._gap(parts, cursor, lead)
            parts.append(_Part(lead, stop, node))
            cursor = stop
        self._gap(parts, cursor, span.stop)
        if parts:
            parts[0].start = span.start
            for before, after in pairwise(parts):
                before.stop = after.start
            parts[-1].stop = span.stop
        elif span.stop > span.start:
            parts.append(_Part(span.start, span.stop, None))
        return parts

    def _give_back(self, parts: list[_Part], cursor: int, start: int, column: int) -> int:
        """Comments indented deeper than the next node belong to the part before; returns the new cursor."""
        if not parts:
            return cursor
        row = cursor
        while row < start and (self._ruler.blank[row] or self._ruler.indent[row] > column):
            row += 1
            if not self._ruler.blank[row - 1]:
                cursor = parts[-1].stop = row
        return cursor

    def _gap(self, parts: list[_Part], start: int, stop: int) -> None:
        if start < stop and not self._ruler.is_blank(start, stop):
            parts.append(_Part(start, stop, None))

    def _inner(self, node: Node) -> list[Node]:
        """Children but those behind a keyword in the first row: a condition belongs to what it introduces."""
        row, column = node.start_point
        return [
            child
            for child in node.named_children
            if child.start_point.row > row or child.start_point.column == column or self._held.hold(child)
        ]

    def _weightier(self, one: Node | None, other: Node) -> Node:
        """Of two nodes that share a line, the one to cut at: what holds a definition, else what has more lines."""
        if one is None:
            return other
        return max(one, other, key=lambda node: (self._held.hold(node), node.end_point.row - node.start_point.row))


def _is_string(node: Node | None) -> bool:
    return (
        node is not None
        and node.type == "expression_statement"
        and node.named_child_count == 1
        and "string" in node.named_children[0].type
    )
