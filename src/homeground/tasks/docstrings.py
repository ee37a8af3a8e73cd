"""Functions of a Python file and where their docstrings lie."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Docstring:
    """The docstring of one function or method.

    Attributes:
        symbol: dotted name ("Class.method").
        text: the docstring, indentation cleaned.
        start: (line, column) of its first character; lines are 1-based, columns count UTF-8 bytes.
        end: (line, column) after its last character.
    """

    symbol: str
    text: str
    start: tuple[int, int]
    end: tuple[int, int]

    @property
    def first_paragraph(self) -> str:
        """The text up to the first blank line, on one line."""
        return " ".join(self.text.partition("\n\n")[0].split())


type FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(source: str) -> list[Docstring]:
    """Docstrings of the functions that :func:`python_functions` finds."""
    return [one for symbol, node in python_functions(source) if (one := _docstring(symbol, node)) is not None]


def python_functions(source: str) -> list[tuple[str, FunctionNode]]:
    """Dotted name and syntax of each function at module level and in classes, in order of their lines.

    A name that is defined twice is left out: it would name two things. A file that does not parse has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = list(_functions(tree, ""))
    times = Counter(symbol for symbol, _ in found)
    return [(symbol, node) for symbol, node in found if times[symbol] == 1]


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, FunctionNode]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _functions(child, prefix)


def _docstring(symbol: str, node: FunctionNode) -> Docstring | None:
    first = node.body[0]
    if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
        return None
    value = first.value
    if not isinstance(value.value, str) or value.end_lineno is None or value.end_col_offset is None:
        return None
    start, end = (value.lineno, value.col_offset), (value.end_lineno, value.end_col_offset)
    return Docstring(symbol, inspect.cleandoc(value.value), start, end)
