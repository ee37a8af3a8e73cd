"""How numbered passages and a question are put to a model that answers from them.

Training rows (the kind ``answers`` of ``homeground data``) and ``homeground ask`` both come from here, so that a model
reads at work what it was trained on:

    system     answer from the passages alone, and cite
    user       [1] <path:start-end> <symbol>
               <lines>

               [2] ...

               Question: <question>
    assistant  <a sentence or two> [1]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

PASSAGES = 3
PASSAGE_LINES = 15
ANSWER_SYSTEM = "Answer from the numbered passages alone, in a sentence or two, and cite the passage that says it."
_CUT = "\n..."


class Passage(Protocol):
    """Lines of a file, as a hit of a search has them."""

    @property
    def symbol(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def citation(self) -> str: ...


def question_turn(passages: Iterable[str], question: str) -> str:
    """The user's turn: passages as :func:`passage_text` writes them, numbered from 1, then the question."""
    numbered = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(passages, start=1))
    return f"{numbered}\n\nQuestion: {question}"


def passage_text(passage: Passage, lines: int = PASSAGE_LINES) -> str:
    """Where a passage is from, then its first lines.

    Args:
        passage: a hit.
        lines: how many are shown at most; three dots stand for the others.
    """
    shown = passage.text.splitlines()
    cut = _CUT if len(shown) > lines else ""
    return f"{passage.citation} {passage.symbol}".rstrip() + "\n" + "\n".join(shown[:lines]) + cut
