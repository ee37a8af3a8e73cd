"""Rows for fine-tuning from a person's own corpus.

=============  ======================================================================================
documentation  a function without its documentation comment -> the comment
completion     what stands above a function and its signature -> its body; where the tokenizer has
               marks for it, the body or some lines of it from what stands above and below
answers        numbered passages that a search found, and a question -> an answer that cites one
=============  ======================================================================================

The fourth kind, search-agent trajectories, is written by :func:`homeground.agents.scripted_trajectory`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from homeground.data.fim import FimMarks
from homeground.data.functions import Function
from homeground.data.passages import ANSWER_SYSTEM, PASSAGES, passage_text, question_turn
from homeground.index import Hit

MAX_FUNCTION_CHARS = 4000
COMMENT_CHARS = range(20, 1001)
MAX_BODY_LINES = 40
MAX_BODY_CHARS = 2000
LINES_ABOVE, LINES_BELOW = 40, 20
_COMMENTS = {
    **dict.fromkeys(("python", "ruby", "bash", "elixir", "julia", "hcl"), "# {}"),
    **dict.fromkeys(("lua", "sql", "haskell"), "-- {}"),
    "ocaml": "(* {} *)",
}
"""Form of a comment of one line by language, where it is not `// ...`."""


@dataclass(frozen=True, slots=True)
class OwnRow:
    """One row and where it comes from.

    Attributes:
        path: of the file; it decides the split.
        symbol: of what the row is about.
        row: as `homeground sft --data` reads it.
        said: what the row asks and answers, without fixed wording and without passages that a search brought: train
            and held-out rows are compared by it.
    """

    path: str
    symbol: str
    row: dict[str, Any]
    said: str

    def texts(self) -> list[str]:
        """Everything that the row holds."""
        messages: list[dict[str, str]] = self.row.get("messages", [])
        return [*(one["content"] for one in messages), *(v for v in self.row.values() if isinstance(v, str))]

    def to_json(self) -> dict[str, Any]:
        """The row with its source beside it."""
        return {**self.row, "source": f"{self.path}::{self.symbol}"}


def documentation_row(function: Function) -> OwnRow | None:
    """Write the documentation comment of a function; None where it has none, or one of them is too long."""
    if len(function.text) not in COMMENT_CHARS or len(function.bare) > MAX_FUNCTION_CHARS:
        return None
    wanted = "docstring" if function.language == "python" else "documentation comment"
    asked = f"Write the {wanted} of this function.\n\n```{function.language}\n{function.bare}```"
    return _conversation(function.path, function.symbol, asked, function.text, function.bare)


def completion_row(
    function: Function, marks: FimMarks | None, rng: random.Random, safe: Callable[[str], str] = str
) -> OwnRow | None:
    """Write the body of a function, or some lines of it; None where the body is too long.

    Args:
        function: whose body is written.
        marks: of the tokenizer; without them nothing below the body is shown.
        rng: draws which lines are missing.
        safe: takes special marks out of the corpus's text.
    """
    lines = function.body.splitlines(keepends=True)
    if len(lines) > MAX_BODY_LINES or len(function.body) > MAX_BODY_CHARS:
        return None
    above = "".join(function.before.splitlines(keepends=True)[-LINES_ABOVE:])
    head = f"{_comment(function.path, function.language)}\n{above}{function.head}"
    if marks is None:
        prefix, middle = safe(head), safe(function.body)
        return OwnRow(function.path, function.symbol, {"prefix": prefix, "continuation": middle}, head + function.body)
    first, last = 0, len(lines)
    if len(lines) > 1 and rng.random() < 0.5:
        first, last = sorted(rng.sample(range(len(lines) + 1), 2))
    below = "".join([*lines[last:], *function.after.splitlines(keepends=True)[:LINES_BELOW]])
    middle = "".join(lines[first:last])
    if not middle.strip():
        return None
    prefix = marks.prompt(safe(head + "".join(lines[:first])), safe(below))
    row = {"prefix": prefix, "continuation": safe(middle) + marks.end}
    return OwnRow(function.path, function.symbol, row, head + function.body)


@dataclass(frozen=True, slots=True)
class Question:
    """What can be asked about one place of the corpus, and the words that answer it."""

    path: str
    symbol: str
    asked: str
    answer: str


def documentation_question(function: Function) -> Question | None:
    """Ask what a function does; the answer is the first paragraph of its documentation comment."""
    answer = _paragraph(function.text)
    if not answer:
        return None
    return Question(function.path, function.symbol, f"What does `{function.symbol}` in `{function.path}` do?", answer)


def heading_question(path: str, symbol: str, text: str) -> Question | None:
    """What a section says: its first paragraph below the heading.

    Args:
        path: of the document.
        symbol: titles from the top down, joined by " > ", as the chunker has them.
        text: the section's lines.
    """
    answer = _paragraph("\n".join(text.splitlines()[1:]))
    title = symbol.rpartition(" > ")[2]
    if not answer or not title or not answer[0].isalnum():
        return None
    return Question(path, symbol, f"What do the documents say about {title}?", answer)


def answer_row(question: Question, hits: Sequence[Hit]) -> OwnRow | None:
    """A question answered from what was found, with a citation; None when the place is not among the first hits."""
    shown = hits[:PASSAGES]
    place = ((number, hit) for number, hit in enumerate(shown, start=1) if _is_place(question, hit))
    number, cited = next(place, (0, None))
    if cited is None:
        return None
    asked = question_turn(map(passage_text, shown), question.asked)
    answer = f"{question.answer} [{number}]\n\n[{number}] `{cited.citation}`"
    return _conversation(
        question.path, question.symbol, asked, answer, f"{question.asked}\n{question.answer}", system=ANSWER_SYSTEM
    )


def _is_place(question: Question, hit: Hit) -> bool:
    # A section or a function may have been cut into several chunks: the one that holds the words is the place.
    words = question.answer.split()[:3]
    return hit.path == question.path and hit.symbol == question.symbol and all(word in hit.text for word in words)


def _comment(text: str, language: str) -> str:
    return _COMMENTS.get(language, "// {}").format(text)


def _paragraph(text: str) -> str:
    """The first paragraph on one line, if a row can hold it."""
    found = " ".join(text.strip().partition("\n\n")[0].split())
    return found if len(found) in range(20, 401) else ""


def _conversation(path: str, symbol: str, asked: str, answer: str, said: str, *, system: str = "") -> OwnRow:
    opening = [{"role": "system", "content": system}] if system else []
    messages = [*opening, {"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return OwnRow(path, symbol, {"messages": messages}, f"{said}\n{answer}")
