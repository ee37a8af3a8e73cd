"""Numbers of every library are rewards; of anything else the message names who gave it and the task."""

import functools
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.base.reward import Reward, checked_reward, function_name, reward_number


class Speaking:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("value", [
    1, 1.0, True, Decimal(1), Fraction(1), np.float32(1), np.int64(1), np.bool_(True), np.array(1.0), np.array([1.0]),
    np.array([[1]]), torch.tensor(1), torch.tensor([1.0]), torch.tensor(1.0, dtype=torch.bfloat16),
    torch.tensor(1.0, requires_grad=True), torch.tensor(True),
])  # fmt: skip
def test_a_number_of_any_library_is_a_float(value):
    number = reward_number(value, "it", {})
    assert (number, type(number)) == (1.0, float)


@pytest.mark.parametrize("value", [
    None, "1", b"1", [1], (1,), {}, {"value": 1}, {1}, 1j, math.nan, math.inf, -math.inf, 10**400, Decimal("NaN"),
    Decimal("sNaN"), np.float32("nan"), np.array([]), np.array([1, 2]), np.array("1"), np.array(None), np.str_("1"),
    torch.tensor([1, 2]), torch.tensor([]), torch.tensor(math.inf), torch.empty(1, device="meta"), float, Speaking(),
])  # fmt: skip
def test_anything_else_is_one_message(value):
    with pytest.raises(HomegroundError, match=r"the function 'mine' gave .*, which is no finite number") as caught:
        reward_number(value, "the function 'mine'", {"question": "q7"})
    assert caught.value.where == "the task {'question': 'q7'}"
    assert "return a number for every answer" in caught.value.hint


def test_a_message_is_short_however_large_the_value_is():
    with pytest.raises(HomegroundError) as caught:
        reward_number([0] * 10**6, "it", {"text": "x" * 10**6})
    assert len(str(caught.value)) < 700


def test_parts_are_named():
    assert checked_reward(Reward(1, {"a": np.float32(0.5)}), "it", {}) == Reward(1.0, {"a": 0.5})
    assert checked_reward(Fraction(1, 2), "it", {}) == Reward(0.5)
    with pytest.raises(HomegroundError, match="it, in its part 'b', gave None"):
        checked_reward(Reward(1, {"a": 1, "b": None}), "it", {})


def test_the_name_of_what_is_called():
    assert function_name(functools.partial(functools.partial(reward_number, 1), "it")) == "reward_number"
    assert function_name(Speaking()) == "Speaking"
