import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.evaluate.stats import mean_interval, paired_difference, smallest_difference

shares = st.floats(0, 1, allow_nan=False)


@given(st.lists(shares, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_interval_holds_its_mean_and_stays_inside_the_data(values):
    interval = mean_interval(values, resamples=100)
    assert interval["value"] == pytest.approx(math.fsum(values) / len(values))
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert interval["low"] >= min(values) - 1e-12
    assert interval["high"] <= max(values) + 1e-12
    assert interval["n"] == len(values)


@pytest.mark.parametrize("values", [[0.3], [0.25] * 7, [0.0] * 40])
def test_values_that_are_all_equal_give_an_interval_without_width(values):
    assert mean_interval(values) == {"value": values[0], "low": values[0], "high": values[0], "n": len(values)}


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    values = list(np.random.default_rng(0).random(50))
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_interval_agrees_with_the_normal_one_on_many_tasks():
    values = np.random.default_rng(1).normal(0.5, 0.1, 2000)
    interval = mean_interval(list(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval["low"] == pytest.approx(values.mean() - half, abs=half / 10)
    assert interval["high"] == pytest.approx(values.mean() + half, abs=half / 10)


def test_the_smallest_difference_is_where_the_interval_ends_at_zero():
    assert smallest_difference(160) == pytest.approx(1.96 * 0.5 / math.sqrt(160), rel=1e-3)
    values = np.random.default_rng(4).choice([-1.0, 1.0], 400)
    shifted = values - values.mean() + smallest_difference(400, sd=1.0)
    assert mean_interval(list(shifted))["low"] == pytest.approx(0, abs=0.02)


def test_about_95_in_100_intervals_hold_the_true_mean():
    rng = np.random.default_rng(2)
    intervals = [mean_interval(list(rng.random(60) < 0.3), resamples=400, seed=i) for i in range(200)]
    held = sum(interval["low"] <= 0.3 <= interval["high"] for interval in intervals)
    assert 180 <= held <= 198


def test_no_outcomes_is_an_error_that_says_what_to_do():
    with pytest.raises(HomegroundError, match="no outcomes") as error:
        mean_interval([])
    assert "evaluate at least one task" in str(error.value.hint)


def test_an_outcome_that_is_no_number_is_an_error():
    with pytest.raises(HomegroundError, match="1 of 3 outcomes are not finite"):
        mean_interval([0.1, float("nan"), 0.2])


def test_pairing_shows_a_gain_that_two_separate_intervals_hide():
    rng = np.random.default_rng(3)
    before = {f"t{i}": float(x) for i, x in enumerate(rng.random(100))}
    after = {task: value + 0.03 + float(rng.normal(0, 0.02)) for task, value in before.items()}
    difference = paired_difference(after, before)
    assert difference["low"] > 0
    assert mean_interval(list(after.values()))["low"] < mean_interval(list(before.values()))["high"]


def test_pairs_are_matched_by_task_and_not_by_order():
    before = {"a": 0.0, "b": 1.0, "c": 0.5}
    after = {"c": 0.6, "b": 1.1, "a": 0.1}
    difference = paired_difference(after, before, resamples=50)
    assert difference["low"] == pytest.approx(0.1)
    assert difference["high"] == pytest.approx(0.1)


def test_the_sign_of_a_difference_is_after_minus_before():
    assert paired_difference({"a": 0.2}, {"a": 0.5})["value"] == pytest.approx(-0.3)


def test_other_tasks_at_the_two_stages_are_named():
    with pytest.raises(HomegroundError, match=r"1 \(new\) only after, 4 \(o0, o1, o2, ...\) only before") as error:
        paired_difference({"same": 1.0, "new": 1.0}, {"same": 1.0, **{f"o{i}": 0.0 for i in range(4)}})
    assert "same tasks and seed" in str(error.value.hint)
