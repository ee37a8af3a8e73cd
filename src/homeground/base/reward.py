"""The reward of one rollout, in numbers of any library."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import Repr
from typing import Any

from homeground.base.errors import HomegroundError

_SHORT = Repr(maxstring=200, maxother=200, maxdict=8)


@dataclass(frozen=True)
class Reward:
    """The result of an agent function, a reward function or a grader on one rollout.

    Attributes:
        value: what is maximised, any unit, usually in [0, 1]; None when somebody else tells it, a grader of the
            source or an event that is posted later.
        parts: the reward's named terms, for the log.
        outcome: whatever the caller wants back (messages, hits, an answer).
    """

    value: float | None
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    outcome: Any = None


def checked_reward(given: Any, who: str, task: Any) -> Reward:
    """Convert a number or a :class:`Reward` to a reward whose value and parts are floats.

    Args:
        given: the reward.
        who: name of its source, for the message.
        task: the task that was rewarded, for the message.

    Raises:
        HomegroundError: its value or one of its parts is no finite number.
    """
    reward = given if isinstance(given, Reward) else Reward(given)
    value = reward_number(reward.value, who, task)
    parts = {name: reward_number(part, f"{who}, in its part '{name}',", task) for name, part in reward.parts.items()}
    return Reward(value, parts, reward.outcome)


def reward_number(value: Any, who: str, task: Any) -> float:
    """Convert a finite number of Python (also bool, Decimal, Fraction), numpy or torch (also a one-element tensor).

    Args:
        value: the reward.
        who: name of its source, for the message.
        task: the task that was rewarded, for the message.

    Raises:
        HomegroundError: the value is anything else.
    """
    number = _number(value)
    if number is None:
        raise HomegroundError(
            f"{who} gave {short(value)}, which is no finite number",
            where=f"the task {short(task)}",
            hint="return a number for every answer, also for one that is empty or malformed",
        )
    return number


def function_name(function: Any) -> str:
    """Name of a function, or of a callable object's class."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)


def short(value: Any) -> str:
    """Short representation of a value of any size."""
    return _SHORT.repr(value)


def _number(value: Any) -> float | None:
    try:
        single = value.item() if callable(getattr(value, "item", None)) else value
        number = float(single) if hasattr(type(single), "__float__") else math.nan
    except (ValueError, TypeError, OverflowError, RuntimeError):  # more than one element, or beyond all floats
        return None
    return number if math.isfinite(number) else None
