import warnings

import pytest

from homeground.training.watch import LossWatch


def words(losses, **changes):
    watch = LossWatch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, loss in enumerate(losses, start=1):
            watch({"step": number, "loss": loss, "weight_change": 0.1, "learning_rate": 1e-4} | changes)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "losses",
    [[2.5 - 0.02 * n for n in range(100)], [0.05] * 100, [0.02] * 50 + [0.06] * 50, [3.0, 2.0] * 8, [2.0] * 40],
)
def test_a_run_that_learns_or_has_learned_or_is_young_is_left_alone(losses):
    assert words(losses) == []


def test_a_rising_loss_is_said_once():
    (said,) = words([2.0] * 8 + [3.5] * 30)
    assert said.startswith("the loss has risen from 2.00 to 3.")
    assert "lower the learning rate" in said


def test_a_loss_that_does_not_move_is_said_once():
    (said,) = words([2.0] * 100)
    assert said.startswith("the loss has not moved in 48 steps (2.000 to 2.000): raise the learning rate")


@pytest.mark.parametrize(("rate", "why"), [(0.0, "the learning rate is 0"), (1e-4, "the gradient is 0")])
def test_steps_that_change_no_weight_are_said_once(rate, why):
    (said,) = words([2.0, 2.0, 2.0], weight_change=0.0, learning_rate=rate)
    assert said.startswith(f"step 1 changed no weight: {why}")
