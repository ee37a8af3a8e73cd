"""Jupyter notebooks: the source of their cells, in order, each under a line that numbers it. Outputs are dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from homeground.corpus.prose import markdown_headings
from homeground.corpus.sections import Section, Trail
from homeground.corpus.skip import LeftOutError, Skip


def read_notebook(text: str) -> tuple[list[str], tuple[Section, ...]]:
    """Lines of a notebook (nbformat 3 or 4) and one section a cell.

    A cell begins with a line such as `# %% cell 3 (code)`, so a citation says which cell it means. Its symbol is the
    titles above it and its number.

    Raises:
        LeftOutError: this is no notebook.
    """
    try:
        cells = list(_cells(json.loads(text)))
    except (ValueError, RecursionError):
        raise LeftOutError(Skip.DAMAGED) from None
    lines: list[str] = []
    sections: list[Section] = []
    trail = Trail()
    for number, (kind, source) in enumerate(cells, 1):
        body = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if not source.strip():
            continue
        if kind == "markdown":
            for _, level, title in markdown_headings(body):
                trail.enter(level, title)
        sections.append(Section(len(lines), " > ".join([*trail.titles, f"cell {number}"])))
        lines += [f"# %% cell {number} ({kind})", *body, ""]
    if not lines:
        raise LeftOutError(Skip.EMPTY)
    return lines[:-1], tuple(sections)


def _cells(document: object) -> Iterator[tuple[str, str]]:
    """(kind, source) of each cell; anything else than a notebook is a ValueError."""
    holders = [document, *_list(_dict(document).get("worksheets", []))]  # worksheets: nbformat 3
    if not any("cells" in _dict(holder) for holder in holders):
        raise ValueError
    for holder in holders:
        for cell in _list(_dict(holder).get("cells", [])):
            one = _dict(cell)
            source: object = one.get("source", one.get("input", ""))
            parts = [source] if isinstance(source, str) else _list(source)
            yield str(one.get("cell_type", "raw")), "".join(map(str, parts))


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return cast("dict[str, Any]", value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError
    return cast("list[Any]", value)
