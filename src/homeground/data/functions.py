"""Functions of a Python file as pieces of its text: what stands before, the signature, the docstring, the body.

::

    import os                                   before
                                                before
    def area(width, height):                    signature (decorators too)
        \"\"\"Square metres.\"\"\"                    docstring
        return width * height                   body
    print(area(2, 3))                           after
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

from homeground.corpus import SourceFile
from homeground.tasks.docstrings import FunctionNode, python_functions


@dataclass(frozen=True, slots=True)
class Function:
    """One function; its texts are whole lines, and together they are its file.

    Attributes:
        path: of its file.
        symbol: dotted name.
        start, end: first and last line, from 1.
        before: the file's lines above it.
        signature: decorators, and the lines up to the colon.
        docstring: cleaned; "" without one.
        quoted: the docstring's own lines.
        body: what follows.
        after: the file's lines below it.
    """

    path: str
    symbol: str
    start: int
    end: int
    before: str
    signature: str
    docstring: str
    quoted: str
    body: str
    after: str

    @property
    def bare(self) -> str:
        """The function without its docstring, indented as at module level."""
        return textwrap.dedent(self.signature + self.body)


def functions(source: SourceFile) -> list[Function]:
    """The functions of a Python file whose body stands on lines of its own and holds more than a docstring."""
    if source.language.name != "python":
        return []
    lines = source.lines()
    return [
        one
        for symbol, node in python_functions("\n".join(lines))
        if (one := _function(source.path, symbol, node, lines)) is not None
    ]


def _function(path: str, symbol: str, node: FunctionNode, lines: list[str]) -> Function | None:
    first, *others = node.body
    text = ast.get_docstring(node)
    statements = node.body if text is None else others
    if not statements or lines[first.lineno - 1][: first.col_offset].strip():
        return None
    opened, quoted_end, end = _begin(first), first.end_lineno, node.end_lineno
    assert quoted_end is not None
    assert end is not None
    # Comments between a docstring and the first statement belong to the body.
    body = opened if text is None else quoted_end + 1
    if body > _begin(statements[0]):
        return None
    top = _begin(node)
    return Function(
        path,
        symbol,
        top,
        end,
        before=_joined(lines[: top - 1]),
        signature=_joined(lines[top - 1 : opened - 1]),
        docstring=text or "",
        quoted=_joined(lines[opened - 1 : body - 1]),
        body=_joined(lines[body - 1 : end]),
        after="\n".join(lines[end:]),
    )


def _begin(node: ast.stmt) -> int:
    """First line of a statement, decorators included."""
    decorated = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return min([node.lineno, *(one.lineno for one in node.decorator_list)]) if decorated else node.lineno


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
