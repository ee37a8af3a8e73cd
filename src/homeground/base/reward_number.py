"""Convert a reward of any library's number type to a float."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from reprlib import Repr
from typing import Any

from homeground.base.errors import HomegroundError

_SHORT = Repr(maxstring=200, maxother=200, maxdict=8)


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


def reward_parts(parts: Mapping[str, Any], who: str, task: Any) -> dict[str, float]:
    """Convert the named parts of a reward to floats.

    Raises:
        HomegroundError: a part is not a finite number.
    """
    return {name: reward_number(value, f"{who}, in its part '{name}',", task) for name, value in parts.items()}


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
