"""What ``make bench-sft``, ``bench-qlora`` and ``bench-forgetting`` train on: functions and their docstrings.

A row asks for the docstring of a function of the standard library and answers with it; loss is on the answer. Rows are
rendered once, by our renderer, and every side gets the same token ids and the same trained positions.
"""

from __future__ import annotations

import ast
import functools
import random

from transformers import PreTrainedTokenizerBase

from homeground.corpus.roots import stdlib_root
from homeground.policy import TokenPath
from homeground.training import example_of, render_examples

SHORTEST, LONGEST = 73, 486
"""Tokens of a row."""
ROWS = 64


HELD_OUT = 4
"""Every so many modules one is held out."""


def docstring_rows(tokenizer: PreTrainedTokenizerBase, rows: int = ROWS) -> list[TokenPath]:
    """Rows of 73 to 486 tokens, drawn from the top-level modules of the standard library; the same on every call."""
    return _rendered(tokenizer, [found for functions in _functions().values() for found in functions], rows)


def docstring_split(
    tokenizer: PreTrainedTokenizerBase, train: int, heldout: int
) -> tuple[list[TokenPath], list[TokenPath]]:
    """The same, and rows of other modules."""
    modules = sorted(_functions().items())
    sides = [
        [f for n, (_, fs) in enumerate(modules) if (n % HELD_OUT == 0) is held for f in fs] for held in (False, True)
    ]
    return _rendered(tokenizer, sides[0], train), _rendered(tokenizer, sides[1], heldout)


def _rendered(tokenizer: PreTrainedTokenizerBase, found: list[tuple[str, str]], rows: int) -> list[TokenPath]:
    found = list(found)
    random.Random("docstring rows").shuffle(found)
    kept: list[TokenPath] = []
    for code, docstring in found:
        asked = f"Write the docstring of this function.\n\n{code}"
        example = example_of({"prompt": asked, "completion": docstring})
        path = render_examples(tokenizer, [example], limit=1 << 30).paths[0]
        if SHORTEST <= len(path.ids) <= LONGEST:
            kept.append(path)
        if len(kept) == rows:
            break
    return kept


@functools.cache
def _functions() -> dict[str, list[tuple[str, str]]]:
    """Source without its docstring, and the docstring, of every function of every module."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file in sorted(stdlib_root().glob("[a-z]*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and (docstring := ast.get_docstring(node)):
                node.body = node.body[1:]
                found.setdefault(file.stem, []).append((ast.unparse(node), docstring))
    return found
