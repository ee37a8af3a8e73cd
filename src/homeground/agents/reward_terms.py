"""Rewards of an agent of one's own: terms with weights, and the terms that are ready-made.

A term is a function of ``(task, answer)`` that gives a number: the task as its line says, the answer as the agent
returned it. It never sees what the agent has read. So text that somebody planted in a document counts only if the
agent itself says it, and a term here reads the *whole* answer: what merely contains the right words earns nothing.

    from homeground.agents.reward_terms import equals, length, weighted

    reward = weighted(right=(1.0, equals("answer")), brief=(0.1, length(most=8)))
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from homeground.agents.own_code import Task
from homeground.agents.same_answer import mentioned, same_answer
from homeground.base.errors import HomegroundError, UsageError
from homeground.base.reward import Reward, checked_reward, short

type Score = float | Reward
type Term = Callable[[Task, Any], Score | Awaitable[Score]]

_ROUNDING = 1e-9
MOST_CHARACTERS = 20_000
"""Longer answers are not read: a pattern on untrusted text must end."""


class Rewards:
    """Weighted terms as one reward, which is what training maximises and evaluation reports.

    Args:
        terms: name -> (weight, function of (task, answer)). A function may be async; others run in a thread. One that
            gives a `Reward` adds its parts as NAME/PART; an only one of weight 1 that does so is the reward itself.
    """

    def __init__(self, terms: Mapping[str, tuple[float, Term]]) -> None:
        self._terms = dict(terms)

    async def __call__(self, task: Task, answer: Any) -> Reward:
        """The sum of weight x number over the terms, with every number, unweighted, as a part of its own.

        Raises:
            HomegroundError: a term gave something other than a finite number.
        """
        value, parts = 0.0, dict[str, float]()
        for name, (weight, term) in self._terms.items():
            score, who = await _called(term, task, answer), f"the reward '{name}'"
            found = checked_reward(score, who, task)
            assert found.value is not None
            if isinstance(score, Reward) and len(self._terms) == 1 and weight == 1:
                return found
            parts |= {name: found.value, **{f"{name}/{part}": x for part, x in found.parts.items()}}
            value += weight * found.value
        return Reward(value, parts)


def weighted(**terms: tuple[float, Term]) -> Rewards:
    """Terms by name, each with its weight: ``weighted(right=(1.0, equals("answer")), brief=(0.1, length(most=8)))``.

    Raises:
        UsageError: no term, or one that is not a weight and a function.
    """
    wrong = [
        name for name, term in terms.items() if len(term) != 2 or not callable(term[1]) or not math.isfinite(term[0])
    ]
    if wrong or not terms:
        raise UsageError(
            f"the term '{wrong[0]}' is not a weight and a function" if wrong else "a reward needs a term",
            where="weighted",
            hint='write weighted(right=(1.0, equals("answer")))',
        )
    return Rewards(terms)


def equals(field: str) -> Term:
    """1 when the whole answer equals the task's ``field`` (a text or number, or a list of accepted ones), else 0.

    Numbers compare by value, texts ignore case; :mod:`homeground.agents.same_answer` defines the rules.
    """

    def equals(task: Task, answer: Any) -> float:
        wanted, said = _wanted(task, field), text_of(answer)
        return float(any(same_answer(said, one, tolerance) for one, tolerance in wanted))

    return equals


def mentions(field: str, *, most: int) -> Term:
    """1 when an answer of at most ``most`` words has what the task's ``field`` says in it, as whole words.

    For models too small to answer with nothing else. The limit is what keeps an answer from listing everything, or from
    repeating a document: keep it tight.
    """

    def mentions(task: Task, answer: Any) -> float:
        wanted, said = _wanted(task, field), text_of(answer)
        if len(said.split()) > most:
            return 0.0
        return float(any(mentioned(said, one, tolerance) for one, tolerance in wanted))

    return mentions


def matches(pattern: str) -> Term:
    """Format: 1 when the whole answer, spaces around it aside, matches a regular expression."""
    compiled = re.compile(pattern, re.DOTALL)

    def matches(task: Task, answer: Any) -> float:
        return float(compiled.fullmatch(text_of(answer).strip()) is not None)

    return matches


def tags(*names: str) -> Term:
    """Format: 1 when the whole answer is one ``<name>...</name>`` of each name, in this order, and nothing else."""

    def tags(task: Task, answer: Any) -> float:
        return float(tagged(text_of(answer), names) is not None)

    return tags


def tagged(text: str, names: Sequence[str]) -> dict[str, str] | None:
    """What stands in the tags of a text that is one of each, in order; None when it is anything else."""
    found: dict[str, str] = {}
    rest = text.strip()
    for name in names:
        opening, closing = f"<{name}>", f"</{name}>"
        if not rest.startswith(opening) or closing not in rest:
            return None
        inside, _, rest = rest.removeprefix(opening).partition(closing)
        if any(f"<{sign}{other}>" in inside for other in names for sign in ("", "/")):
            return None
        found[name], rest = inside.strip(), rest.lstrip()
    return None if rest else found


def length(*, least: int = 0, most: int, fade: int | None = None) -> Term:
    """Length: 1 for answers of ``least`` to ``most`` words; beyond, it falls to 0 over ``fade`` words.

    Args:
        least: fewest words; an empty answer never earns more than 0.
        most: most words.
        fade: words over which it falls; as many as ``most`` when None; 0 falls at once.
    """
    over = most if fade is None else fade

    def length(task: Task, answer: Any) -> float:
        words = len(text_of(answer).split())
        beyond = max(least - words, words - most)
        if not words or (beyond > 0 and not over):
            return 0.0
        return 1.0 if beyond <= 0 else max(0.0, 1 - beyond / over)

    return length


def text_of(answer: Any) -> str:
    """The text of an agent's answer: itself, or its field "answer"; "" when there is none or it is too long to read."""
    said = answer.get("answer") if isinstance(answer, Mapping) else answer
    text = "" if said is None else str(said)
    return text if len(text) <= MOST_CHARACTERS else ""


async def _called(term: Term, task: Task, answer: Any) -> Score:
    if inspect.iscoroutinefunction(term) or inspect.iscoroutinefunction(getattr(term, "__call__", None)):  # noqa: B004
        return await term(task, answer)  # type: ignore[misc]
    score = await asyncio.to_thread(term, task, answer)
    return await score if inspect.isawaitable(score) else score


def _wanted(task: Task, field: str) -> list[tuple[str, float]]:
    """Correct answers as texts, each with its tolerance: JSON fractions are rounded, texts are exact."""
    if field not in task:
        raise HomegroundError(
            f"a task has no field '{field}'",
            where=f"its fields are {', '.join(map(str, task))}",
            hint="name the field of your tasks that holds the right answer",
        )
    found = task[field]
    each: list[Any] = found if isinstance(found, list) else [found]
    if not each or not all(isinstance(one, str | int | float) for one in each):
        raise HomegroundError(
            f"the field '{field}' of a task holds {short(found)}, which is no answer",
            where=f"the task {short(task)}",
            hint="write a text, a number, or a list of those that count",
        )
    return [(str(one), _ROUNDING if isinstance(one, float) and not one.is_integer() else 0.0) for one in each]
