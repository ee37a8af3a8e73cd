"""A reward as a number, whatever library it comes from."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from reprlib import Repr
from typing import Any

from homeground.base.errors import HomegroundError

_SHORT = Repr(maxstring=200, maxother=200, maxdict=8)


def reward_number(value: Any, who: str, task: Any) -> float:
    """A finite number: of Python (also bool, Decimal, Fraction), numpy or torch (also a tensor of one element).

    Args:
        value: the reward.
        who: what gave it, for the message.
        task: it was given for.

    Raises:
        HomegroundError: it is anything else.
    """
    number = _number(value)
    if number is None:
        raise HomegroundError(
            f"{who} gave {short(value)}, which is no finite number",
            where=f"the task {short(task)}",
            hint="return a number for every answer, also for one that is empty or malformed",
        )
    return number


def reward_parts(parts: Mapping[str, Any], who: str, task: Any) -> dict[str, float]:
    """The named parts of a reward as numbers.

    Raises:
        HomegroundError: one of them is none.
    """
    return {name: reward_number(value, f"{who}, in its part '{name}',", task) for name, value in parts.items()}


def function_name(function: Any) -> str:
    """The name of a function, or of the class of an object that is called."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)


def short(value: Any) -> str:
    """A value in few words, however large it is."""
    return _SHORT.repr(value)


def _number(value: Any) -> float | None:
    try:
        single = value.item() if callable(getattr(value, "item", None)) else value
        number = float(single) if hasattr(type(single), "__float__") else math.nan
    except (ValueError, TypeError, OverflowError, RuntimeError):  # more than one element, or beyond all floats
        return None
    return number if math.isfinite(number) else None
