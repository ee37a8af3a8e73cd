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

from homeground.corpus.languages import Language
from homeground.corpus.pieces import Piece, Ruler, Span

if TYPE_CHECKING:
    from tree_sitter import Node

_MAX_DEPTH = 60
_COMPOUND_DEPTH = 8


@dataclass(frozen=True, slots=True)
class _Scope:
    symbol: str
    kind: str


@dataclass(slots=True)
class _Part:
    """Lines [start, stop) and the node they hold, if one holds them alone."""

    start: int
    stop: int
    node: Node | None

    @property
    def span(self) -> Span:
        return Span(self.start, self.stop)


class SyntaxSplitter:
    """Splits one file's tree into pieces that partition its lines."""

    def __init__(self, language: Language, lines: Sequence[str], ruler: Ruler) -> None:
        self._language = language
        self._ruler = ruler
        self._is_comment = [line.lstrip().startswith(language.comments) for line in lines]

    def split(self, root: Node, stop: int) -> list[Piece]:
        """Pieces of the lines [0, stop), in order."""
        return self._container(Span(0, stop), root.named_children, _Scope("", "module"), 0)

    def _container(
        self, span: Span, nodes: Sequence[Node], scope: _Scope, depth: int, compound: bool = False
    ) -> list[Piece]:
        pieces: list[Piece] = []
        loose: list[Span] = []

        def flush() -> None:
            pieces.extend(self._ruler.pack(loose, scope.symbol, scope.kind))
            loose.clear()

        for part in self._parts(span, nodes, with_head=compound):
            node = part.node
            if node is not None and depth < _MAX_DEPTH:
                definition = self._definition(node)
                if definition is not None:
                    flush()
                    pieces.extend(self._define(part.span, definition, scope, depth + 1))
                    continue
                if self._holds_definition(node, 0):
                    flush()
                    pieces.extend(self._container(part.span, _without_condition(node), scope, depth + 1, compound=True))
                    continue
                loose.extend(self._explode(part, scope.symbol, depth + 1))
            else:
                loose.append(part.span)
        flush()
        return pieces

    def _define(self, span: Span, node: Node, scope: _Scope, depth: int) -> list[Piece]:
        named = node.child_by_field_name("name")
        name = named.text.decode("utf-8", "replace") if named is not None and named.text else "?"
        symbol = f"{scope.symbol}.{name}" if scope.symbol else name
        body = node.child_by_field_name("body")
        nodes = body.named_children if body is not None else []
        if self._language.definitions[node.type] == "class":
            return self._container(span, nodes, _Scope(symbol, "class"), depth)
        kind = "method" if scope.kind == "class" else "function"
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
            if "comment" in node.type:
                continue
            start, stop = _rows(node)
            start, stop = max(start, span.start), min(stop, span.stop)
            if stop <= start:
                continue
            if start < cursor:  # shares a line with the node before
                if parts:
                    parts[-1].stop = max(parts[-1].stop, stop)
                    parts[-1].node = parts[-1].node if stop <= cursor else None
                    cursor = parts[-1].stop
                continue
            cursor = self._give_back(parts, cursor, start, node.start_point.column)
            lead = start
            while lead > cursor and (self._is_comment[lead - 1] or (with_head and not ruler.blank[lead - 1])):
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

    def _definition(self, node: Node) -> Node | None:
        if node.type in self._language.definitions:
            return node
        if node.type in self._language.wrappers:
            for child in reversed(node.named_children):
                if child.type in self._language.definitions:
                    return child
        return None

    def _holds_definition(self, node: Node, depth: int) -> bool:
        if depth >= _COMPOUND_DEPTH or node.end_point.row == node.start_point.row:
            return False
        return any(
            self._definition(child) is not None or self._holds_definition(child, depth + 1)
            for child in node.named_children
        )


def _without_condition(node: Node) -> list[Node]:
    """Children but those behind a keyword in the first row: a condition belongs to what it introduces."""
    row, column = node.start_point
    return [child for child in node.named_children if child.start_point.row > row or child.start_point.column == column]


def _rows(node: Node) -> tuple[int, int]:
    """First row and the row after the last one; a node that ends at column 0 does not touch that row."""
    last = node.end_point.row
    if node.end_point.column == 0 and last > node.start_point.row:
        last -= 1
    return node.start_point.row, last + 1


def _is_string(node: Node | None) -> bool:
    return (
        node is not None
        and node.type == "expression_statement"
        and node.named_child_count == 1
        and "string" in node.named_children[0].type
    )
