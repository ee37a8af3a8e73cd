"""Corpora of ``make bench-search``: functions with docstrings, and sources in which those docstrings are blanked.

A question is the first paragraph of a function's docstring, at least 25 characters long and said of one function only.
Every docstring of a function is taken out of the sources, lines keep their numbers, and all sides read the same tree.
"""

from __future__ import annotations

import importlib.util
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from homeground.corpus import STDLIB_EXCLUDES, CorpusConfig, Walk, digest, stdlib_root
from homeground.tasks.docstrings import Docstring, docstrings, python_functions

STDLIB = "stdlib"
PACKAGES = ("networkx", "pydantic", "rich")
"""Installed with Homeground itself, at the versions of constraints.txt; no model was tuned on them."""
_PACKAGE_EXCLUDES = ("test/", "tests/")
_LEAST_CHARS = 25


@dataclass(frozen=True, slots=True)
class Question:
    """One question and the lines that answer it: those of the function, from its name to its end."""

    text: str
    path: str
    symbol: str
    start: int
    end: int


def source_root(corpus: str) -> tuple[Path, tuple[str, ...]]:
    """Folder of a corpus, and what is left out of it."""
    if corpus == STDLIB:
        return stdlib_root(), STDLIB_EXCLUDES
    found = importlib.util.find_spec(corpus)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{corpus} is not installed: run 'make setup'")
    return Path(found.origin).parent, _PACKAGE_EXCLUDES


def masked_tree(corpus: str, folder: Path) -> list[Question]:
    """Writes the Python files of a corpus without its functions' docstrings; the questions, in order of path and line.

    Args:
        corpus: `STDLIB` or the name of an installed package.
        folder: where to.
    """
    root, exclude = source_root(corpus)
    found: list[Question] = []
    for file in Walk(root, CorpusConfig(exclude=exclude)):
        if file.language.name != "python":
            continue
        source = "\n".join(file.lines())
        lines = {symbol: (node.lineno, node.end_lineno or node.lineno) for symbol, node in python_functions(source)}
        present = docstrings(source)
        found += [Question(one.first_paragraph, file.path, one.symbol, *lines[one.symbol]) for one in present]
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes("\n".join(_blanked(source, present)).encode("utf-8", "surrogatepass"))
    times = Counter(one.text.lower() for one in found)
    return [one for one in found if times[one.text.lower()] == 1 and len(one.text) >= _LEAST_CHARS]


def _blanked(source: str, present: list[Docstring]) -> Iterator[str]:
    """The lines with ``...`` in each docstring's place: a function that is only its docstring keeps a body."""
    at = {one.start[0]: one for one in present}
    end = (0, 0)
    for number, line in enumerate(source.split("\n"), start=1):
        data = line.encode("utf-8", "surrogatepass")
        kept = b"" if number < end[0] else data[end[1] :] if number == end[0] else data
        if (one := at.get(number)) is not None and number >= end[0]:
            end = one.end
            rest = data[end[1] :] if end[0] == number else b""
            kept = data[: one.start[1]] + b"..." + rest
        yield kept.decode("utf-8", "surrogatepass")


def is_train(question: Question) -> bool:
    """Whether weights may be fitted and models tuned on the question: it is of one half of its corpus's modules."""
    return int(digest("bench-search", question.path)[:8], 16) % 2 == 0


def asked(corpus: str, questions: Sequence[Question], most: int = 10**6) -> list[Question]:
    """So many questions to measure on: of the standard library those of the other modules, of a package all.

    Fewer are some of the more, so that sides that are asked more or less often are compared over the same questions.
    """
    free = [one for one in questions if corpus != STDLIB or not is_train(one)]
    drawn = random.Random(0).sample(free, len(free))[:most]
    return sorted(drawn, key=lambda one: (one.path, one.start))
