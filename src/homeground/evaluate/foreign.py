"""From which similarity on a question counts as answered by an index, and what that line refuses.

The score of a question is the similarity of its best hit. The line keeps nearly all of the index's own questions:
tasks, whose texts are taken out of the index. What it refuses of all that is not in the index is measured on two kinds:
foreign questions, a fixed list of things that no code base is about, and the index's own questions again, without the
hits in the file that answers them. Cosines tell the first apart well, the second badly: another file of the same code
base is near as well. A line that refused most of those would refuse too many good questions with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KEPT = 0.95
"""Share of the own questions that the line keeps, at least."""


@dataclass(frozen=True)
class Line:
    """A threshold and what it does.

    Attributes:
        least: scores from here on count as answered.
        own: how many questions it was fitted on.
        kept: share of them at or above it.
        foreign_refused: share of the foreign questions below it.
        absent_refused: share of the own questions below it when the file that answers them is not there.
    """

    least: float
    own: int
    kept: float
    foreign_refused: float
    absent_refused: float


@cache
def foreign_questions() -> list[str]:
    """Questions about the rest of the world."""
    file = Path(__file__).parent / "general" / "foreign.txt"
    return file.read_text(encoding="utf-8").splitlines()


def draw_line(own: Sequence[float], foreign: Sequence[float], absent: Sequence[float]) -> Line:
    """The highest threshold that keeps `KEPT` of the own questions.

    Args:
        own: scores of questions that the index answers; at least one.
        foreign: of foreign ones; at least one.
        absent: of own ones without the file that answers them; at least one.
    """
    lost = len(own) - math.ceil(KEPT * len(own))
    least = sorted(own)[lost]

    def below(scores: Sequence[float]) -> float:
        return sum(score < least for score in scores) / len(scores)

    return Line(least, len(own), 1 - below(own), below(foreign), below(absent))
