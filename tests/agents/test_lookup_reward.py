import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.agents.lookup_reward import lookup_reward


@st.composite
def rollouts(draw):
    """What can be true of one rollout."""
    answered = draw(st.booleans())
    symbol = answered and draw(st.booleans())
    return {
        "search_formed": draw(st.booleans()),
        "answer_formed": answered,
        "rank": draw(st.none() | st.integers(1, 50)),
        "right_symbol": symbol,
        "right_file": symbol or (answered and draw(st.booleans())),
    }


@given(rollouts())
def test_the_reward_lies_in_0_to_1_and_is_the_sum_of_its_parts(rollout):
    reward = lookup_reward(**rollout)
    assert 0 <= reward.value <= 1
    assert reward.value == pytest.approx(sum(reward.parts.values()))
    assert all(part >= 0 for part in reward.parts.values())


@given(rollouts())
def test_equal_rollouts_earn_equal_rewards(rollout):
    assert lookup_reward(**rollout) == lookup_reward(**rollout)


@given(rollouts())
def test_the_right_symbol_always_earns_more_than_only_the_right_file(rollout):
    answered = rollout | {"answer_formed": True, "right_file": True}
    right = lookup_reward(**answered | {"right_symbol": True})
    assert right.value == pytest.approx(lookup_reward(**answered | {"right_symbol": False}).value + 0.35)


@given(rollouts(), st.integers(1, 9))
def test_a_better_rank_earns_more(rollout, rank):
    assert lookup_reward(**rollout | {"rank": rank}).value > lookup_reward(**rollout | {"rank": rank + 1}).value


NOTHING = {"search_formed": False, "answer_formed": False, "rank": None, "right_symbol": False, "right_file": False}


@pytest.mark.parametrize(
    ("rollout", "part", "worth", "total"),
    [
        ({}, "symbol", 0.0, 0.0),
        ({"search_formed": True}, "search_form", 0.1, 0.1),
        ({"answer_formed": True}, "answer_form", 0.1, 0.1),
        ({"rank": 1}, "reciprocal_rank", 0.3, 0.3),
        ({"rank": 4}, "reciprocal_rank", 0.075, 0.075),
        ({"rank": 10}, "reciprocal_rank", 0.03, 0.03),
        ({"rank": 11}, "reciprocal_rank", 0.0, 0.0),
        ({"answer_formed": True, "right_file": True}, "file", 0.15, 0.25),
        ({"answer_formed": True, "right_file": True, "right_symbol": True}, "symbol", 0.5, 0.6),
        ({"answer_formed": True, "right_file": True, "right_symbol": True}, "file", 0.0, 0.6),
    ],
)
def test_each_part_is_worth_what_the_table_says(rollout, part, worth, total):
    reward = lookup_reward(**NOTHING | rollout)
    assert reward.parts[part] == pytest.approx(worth)
    assert reward.value == pytest.approx(total)


def test_a_perfect_rollout_earns_exactly_one():
    perfect = lookup_reward(search_formed=True, answer_formed=True, rank=1, right_symbol=True, right_file=True)
    assert perfect.value == 1.0


@pytest.mark.parametrize("rollout", [{"rank": 0}, {"right_symbol": True}, {"right_file": True}])
def test_what_cannot_happen_is_refused(rollout):
    with pytest.raises(ValueError, match=r"ranks count from 1|cites nothing"):
        lookup_reward(**NOTHING | rollout)
