"""Means over tasks with 95% bootstrap intervals, and paired differences between two stages on the same tasks.

Intervals are percentile bootstraps (Efron 1979) through `scipy.stats.bootstrap`. The percentile method was chosen
over BCa because it stays inside the range of the data and never becomes NaN on the 0-or-1 values of success and
well-formed calls. Tasks are resampled, not rollouts or turns: the claim is about new tasks of the same kind.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from homeground.base.errors import HomegroundError
from homeground.evaluate.config import RESAMPLES

CONFIDENCE = 0.95
PAIRED_SD = 0.5
"""Assumed standard deviation of a task's difference of reward, in [-1, 1]: as if the reward of one task in four turned
from 0 to 1 or back."""


class Interval(TypedDict):
    """A mean over `n` tasks and the 95% interval around it, all in the metric's own unit."""

    value: float
    low: float
    high: float
    n: int


def format_interval(interval: Interval, *, signed: bool = False) -> str:
    """An interval as text: `0.358 [0.310, 0.407]`, or for a difference `+0.071 [+0.036, +0.105]`."""
    value, low, high = (f"{interval[key]:{'+' if signed else ''}.3f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def mean_interval(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean of one number a task, with its interval.

    Args:
        values: one number a task, shape (n,), any unit.
        resamples: bootstrap samples drawn.
        seed: of the resampling; equal seeds give equal intervals.

    Returns:
        The mean and its interval. When all values are equal, or there is only one, nothing can be resampled and
        low = high = value: read `n` beside such an interval before trusting it.

    Raises:
        HomegroundError: no values, or one that is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise HomegroundError(
            "there are no outcomes to average", where="bootstrap", hint="evaluate at least one task first"
        )
    if not np.isfinite(data).all():
        raise HomegroundError(
            f"{int((~np.isfinite(data)).sum())} of {data.size} outcomes are not finite numbers",
            where="bootstrap",
            hint="find the task whose outcome is NaN or infinite; every metric lies in [0, 1]",
        )
    n = int(data.size)
    if n == 1 or bool((data == data[0]).all()):
        value = float(data[0])
        return {"value": value, "low": value, "high": value, "n": n}
    from scipy import stats  # half a second that listing runs need not wait

    value = math.fsum(data) / n
    interval = stats.bootstrap(
        (data,),
        np.mean,
        n_resamples=resamples,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
        vectorized=True,
    ).confidence_interval
    return {"value": value, "low": min(float(interval.low), value), "high": max(float(interval.high), value), "n": n}


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Sum of one number a task over the sum of another, such as bits per byte, with its interval.

    Pairs are resampled together, so that a long task weighs what it weighs in the sum.

    Args:
        numerators: shape (n,), any unit; differences of two stages give the interval of the difference.
        denominators: shape (n,), positive.
        resamples: bootstrap samples drawn.
        seed: of the resampling.

    Raises:
        HomegroundError: no values, or one that is not finite.
    """
    over, under = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if not over.size or over.shape != under.shape or not np.isfinite(over).all() or not (under > 0).all():
        raise HomegroundError(
            "a ratio needs finite numbers over positive ones, as many of each",
            where="bootstrap",
            hint="find the task whose number is NaN or infinite, or whose text is empty",
        )
    n = int(over.size)
    value = math.fsum(over) / math.fsum(under)
    if n == 1:
        return {"value": value, "low": value, "high": value, "n": n}
    drawn = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    low, high = np.quantile(over[drawn].sum(1) / under[drawn].sum(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value), "n": n}


def paired_difference(
    after: Mapping[str, float], before: Mapping[str, float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean of `after - before` task by task, with its interval.

    Pairing removes what makes one task harder than another, so it shows smaller gains than two separate intervals can.

    Args:
        after: number of each task, by task id.
        before: the same tasks' numbers at the earlier stage.
        resamples: bootstrap samples drawn.
        seed: of the resampling.

    Raises:
        HomegroundError: the two stages did not see the same tasks, or saw none.
    """
    if after.keys() != before.keys():
        raise HomegroundError(
            "the two stages were not evaluated on the same tasks: "
            f"{_some(after.keys() - before.keys())} only after, {_some(before.keys() - after.keys())} only before",
            where="paired difference",
            hint="evaluate both stages again with the same tasks and seed",
        )
    return mean_interval([after[task] - before[task] for task in sorted(after)], resamples=resamples, seed=seed)


def smallest_difference(n: int, sd: float = PAIRED_SD) -> float:
    """Half the width of the 95% interval of a mean paired difference over `n` tasks: smaller ones include zero.

    Args:
        n: number of tasks, at least 1.
        sd: standard deviation of a task's difference.
    """
    return statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * sd / math.sqrt(n)


def _some(tasks: set[str], shown: int = 3) -> str:
    names = ", ".join(sorted(tasks)[:shown])
    return f"{len(tasks)} ({names}{', ...' if len(tasks) > shown else ''})" if tasks else "none"
