"""How similar the best hit must be before a question counts as answered by the index; fitted on its own tasks.

Cosines of one embedder and one corpus say little about another's, so the line is drawn by this index's own questions
(:mod:`homeground.evaluate.foreign`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from homeground.base.files import atomic_write_json, read_json
from homeground.base.progress import Progress
from homeground.index import Hit, Index, Stage
from homeground.runs.workspace import Workspace

if TYPE_CHECKING:
    from homeground.evaluate.foreign import Line

LEAST = 0.45
"""Where nothing was fitted.

Measured with all-MiniLM-L6-v2 on the standard library: ten questions about it reached 0.55 to 0.82, ten about other
things (bread, capitals, React, keyboard noise) 0.18 to 0.42.
"""
LEAST_TASKS = 8
"""Fewer questions fit nothing."""
_HITS = 50


def least_confidence(workspace: Workspace, index: Index) -> float:
    """What was fitted for this index's embedder, else a default."""
    file = workspace.threshold
    kept = read_json(file) if file.is_file() else {}
    return float(kept["least"]) if kept.get("embedder") == index.config.embedder else LEAST


def fit_least_confidence(
    workspace: Workspace, masked: Index, asked: Sequence[tuple[str, str]], progress: Progress
) -> Line | None:
    """Fits the threshold and keeps it in the workspace; None when there are too few questions to.

    Args:
        workspace: where it is kept.
        masked: the index without the texts that the questions were taken from.
        asked: questions, each with the path of the file that answers it.
        progress: where a bar goes.
    """
    from homeground.evaluate.foreign import draw_line, foreign_questions

    if len(asked) < LEAST_TASKS:
        return None
    foreign = foreign_questions()
    bar = progress.bar("fitting when nothing is found", total=len(asked) + len(foreign))

    def search(query: str) -> list[Hit]:
        bar.advance()
        return masked.search(query, _HITS)

    foreign = [_best(search(question)) for question in foreign]
    found = [(search(question), path) for question, path in asked]
    own = [_best(hits) for hits, _ in found]
    absent = [_best([hit for hit in hits if hit.path != path]) for hits, path in found]
    line = draw_line(own, foreign, absent)
    atomic_write_json(workspace.threshold, {**asdict(line), "embedder": masked.config.embedder})
    refused = f"{line.foreign_refused:.0%} of foreign ones, {line.absent_refused:.0%} of own ones without their file"
    bar.done(f"below similarity {line.least:.2f}: {1 - line.kept:.0%} of own questions, {refused}")
    return line


def _best(hits: Sequence[Hit]) -> float:
    return max((hit.scores[Stage.DENSE] for hit in hits), default=0.0)
