import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from homeground.base.errors import UsageError
from homeground.training import GroupRewards, Scale, group_advantages, overlong_penalty
from homeground.training.advantages import advantages_of

from .documented import documented

shapes = st.tuples(st.integers(1, 4), st.integers(2, 6))
rewards = st.floats(-100, 100, width=32)


@st.composite
def groups(draw):
    shape = draw(shapes)
    values = draw(arrays("float32", shape, elements=rewards))
    present = draw(arrays("bool", shape))
    return torch.from_numpy(values), torch.from_numpy(present)


@given(groups(), st.sampled_from(Scale))
def test_a_group_s_advantages_add_up_to_zero_whoever_is_absent(group, scale):
    values, present = group
    advantages = group_advantages(values, scale, present)
    assert advantages.shape == values.shape
    assert torch.isfinite(advantages).all()
    assert (advantages[~present] == 0).all()
    assert advantages.double().sum(1).abs().max() < 1e-3


@given(groups())
def test_std_gives_every_group_with_signal_the_spread_one(group):
    values, present = group
    advantages = group_advantages(values, Scale.STD, present).double()
    for row, there in zip(advantages, present, strict=True):
        members = row[there]
        assert not members.any() or float(members.std(correction=0)) == pytest.approx(1, abs=1e-3)


@given(shapes, rewards, st.sampled_from(Scale))
def test_equal_rewards_are_exactly_no_signal(shape, value, scale):
    advantages = group_advantages(torch.full(shape, value), scale)
    assert torch.equal(advantages, torch.zeros(shape))


@given(groups(), st.floats(-10, 10, width=32))
def test_absent_rollouts_do_not_count(group, anything):
    values, present = group
    other = torch.where(present, values, torch.tensor(anything))
    torch.testing.assert_close(
        group_advantages(other, present_PG=present), group_advantages(values, present_PG=present)
    )


def test_the_paper_s_formula():
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    mean, std = 0.25, (0.75**2 + 3 * 0.25**2) ** 0.5 / 2
    torch.testing.assert_close(advantages, torch.tensor([[(1 - mean) / std, *[-mean / std] * 3]]))


def test_none_only_centres():
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.5, 0.5]]), Scale.NONE)
    torch.testing.assert_close(advantages, torch.tensor([[0.5, -0.5, 0.0, 0.0]]))


def test_a_lone_survivor_and_an_absent_group_are_no_signal():
    present = torch.tensor([[True, False, False], [False, False, False]])
    assert not group_advantages(torch.tensor([[5.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), present_PG=present).any()


def test_a_failed_rollout_s_reward_may_be_anything():
    present = torch.tensor([[True, True, False]])
    advantages = group_advantages(torch.tensor([[1.0, 0.0, float("nan")]]), present_PG=present)
    assert advantages.tolist() == [[1.0, -1.0, 0.0]]


def test_one_rollout_has_nothing_to_be_compared_with():
    with pytest.raises(ValueError, match="at least 2 rollouts"):
        group_advantages(torch.ones(3, 1))


@pytest.mark.parametrize(
    ("tokens", "penalty"), [(1, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (100, -1.0), (120, -1.0)]
)
def test_long_rollouts_lose_reward_towards_the_limit(tokens, penalty):
    assert overlong_penalty(tokens, limit=100, buffer=20) == pytest.approx(penalty)


GROUPS = GroupRewards(
    rewards_PG=torch.tensor([[1.5, 0.0, 1.0], [0.0, 3.0, 0.0]]),
    present_PG=torch.tensor([[True, True, True], [True, True, False]]),
    parts_PGK=torch.tensor([[[1.0, 0.5], [0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 3.0], [0.0, 0.0]]]),
    names=("form", "right"),
)


def test_an_advantage_may_be_a_function_of_the_parts_of_the_reward():
    found = advantages_of(GROUPS, documented("part_by_part"))

    def normal(column):
        mean = sum(column) / len(column)
        deviation = (sum((x - mean) ** 2 for x in column) / len(column)) ** 0.5
        return [(x - mean) / deviation if deviation else 0.0 for x in column]

    first = [a + b for a, b in zip(normal([1, 0, 1]), normal([0.5, 0, 0]), strict=True)]
    torch.testing.assert_close(found, torch.tensor([first, [*normal([0, 3]), 0.0]]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda groups: groups.rewards_PG[0], r"returned shape \(3,\)"),
        (lambda groups: groups.rewards_PG.tolist(), "returned a list"),
        (lambda groups: groups.rewards_PG / 0, "not finite"),
    ],
)
def test_a_function_that_gives_no_advantages_is_refused(function, message):
    with pytest.raises(UsageError, match=message) as caught:
        advantages_of(GROUPS, function)
    assert (caught.value.where, "here (2, 3)" in str(caught.value.hint)) == ("GrpoConfig.advantage", True)


def test_what_a_function_says_of_absent_rollouts_is_not_read():
    found = advantages_of(GROUPS, lambda groups: torch.where(groups.present_PG, 1.0, torch.nan))
    assert found.tolist() == [[1, 1, 1], [1, 1, 0]]
