import asyncio
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground import Reward
from homeground.agents.reward_terms import Rewards, equals, length, matches, mentions, tagged, tags, weighted
from homeground.base.errors import HomegroundError, UsageError


def judged(reward, task, answer):
    return asyncio.run(reward(task, answer))


@pytest.mark.parametrize(
    ("answer", "wanted", "score"),
    [("Paris", "Paris", 1), (" paris. ", "Paris", 1), ("The Louvre", "louvre", 1), ("Paris, France", "Paris", 0),
     ("12", 12, 1), ("12.0", "12", 1), ("1,200", 1200, 1), ("13", 12, 0), ("12 or 13", 12, 0), ("", "Paris", 0),
     (None, "Paris", 0), ("Rome", ["Paris", "Rome"], 1), ({"answer": "Paris"}, "Paris", 1), ({}, "Paris", 0),
     ("", "", 0), ("nan", "nan", 1)],
)  # fmt: skip
def test_equals_reads_the_whole_answer(answer, wanted, score):
    assert equals("gold")({"gold": wanted}, answer) == score


def test_mentions_wants_whole_words_in_a_short_answer():
    near = mentions("gold", most=6)
    assert near({"gold": "Rome"}, "The capital of Italy is Rome.") == 1
    assert near({"gold": "Rome"}, "The capital is Romeo.") == 0
    assert near({"gold": "Rome"}, "Paris Madrid Berlin Rome London Vienna Oslo") == 0
    assert near({"gold": ["x", "New York"]}, "in New  York!") == 1


def test_a_task_without_the_field_is_an_error():
    with pytest.raises(HomegroundError, match="no field 'gold'") as caught:
        equals("gold")({"answer": "x"}, "x")
    assert caught.value.where == "its fields are answer"


def test_length_falls_off_on_both_sides():
    term = length(least=2, most=4, fade=4)
    assert [term({}, "w " * n) for n in (0, 1, 2, 4, 5, 8, 100)] == [0, 0.75, 1, 1, 0.75, 0, 0]
    assert [length(most=2, fade=0)({}, "w " * n) for n in (2, 3)] == [1, 0]


def test_formats():
    assert matches(r"answer: \[\d\]")({}, " answer: [3]\n") == 1
    assert matches(r"answer: \[\d\]")({}, "so, answer: [3]") == 0
    both = tags("think", "answer")
    assert both({}, "<think>why</think>\n<answer>42</answer>") == 1
    for wrong in (
        "<answer>42</answer>",
        "<answer>42</answer><think>why</think>",
        "<think>why</think><answer>42</answer> and more",
        "<think>a</think><think>b</think><answer>42</answer>",
        "<think><answer>41</answer></think><answer>42</answer>",
        "<think>why<answer>42</answer>",
    ):
        assert both({}, wrong) == 0, wrong
    assert tagged(" <a>1</a> <b> 2 </b> ", ["a", "b"]) == {"a": "1", "b": "2"}


def test_terms_are_weighted_and_every_number_is_kept():
    def two(task, answer):
        return 2

    async def three(task, answer):
        return 3

    def parted(task, answer):
        return Reward(0.5, {"form": 1.0, "rank": 0.0})

    found = judged(weighted(two=(1, two), three=(0.5, three), parted=(2, parted)), {}, "x")
    assert found.value == 2 + 1.5 + 1
    assert found.parts == {"two": 2, "three": 3, "parted": 0.5, "parted/form": 1, "parted/rank": 0}


def test_an_only_reward_of_weight_one_keeps_its_own_parts():
    inner = weighted(right=(1.0, equals("gold")), brief=(0.1, length(most=3)))
    assert judged(Rewards({"reward": (1.0, inner)}), {"gold": "x"}, "x") == Reward(1.1, {"right": 1.0, "brief": 1.0})


def test_a_weighted_reward_is_a_term_of_another():
    inner = weighted(right=(1.0, equals("gold")))
    found = judged(weighted(all=(2.0, inner)), {"gold": "x"}, "x")
    assert (found.value, found.parts) == (2.0, {"all": 1.0, "all/right": 1.0})


@pytest.mark.parametrize("score", [None, "1", math.nan, math.inf, [1]])
def test_a_malformed_reward_is_an_error_that_names_it(score):
    with pytest.raises(HomegroundError, match="the reward 'odd' gave") as caught:
        judged(Rewards({"odd": (1.0, lambda task, answer: score)}), {"n": 3}, "x")
    assert caught.value.where == "the task {'n': 3}"
    assert "return a number for every answer" in caught.value.hint


def test_a_part_of_a_reward_is_a_number_too():
    with pytest.raises(HomegroundError, match="the reward 'odd', in its part 'form', gave None"):
        judged(Rewards({"odd": (1.0, lambda task, answer: Reward(1.0, {"form": None}))}), {}, "x")
    found = judged(Rewards({"odd": (1.0, lambda task, answer: Reward(Fraction(1, 2), {"form": Decimal(1)}))}), {}, "x")
    assert found == Reward(0.5, {"form": 1.0})


@pytest.mark.parametrize("gold", [None, [], {}, [None], [["x"]]])
@pytest.mark.parametrize("term", [equals("gold"), mentions("gold", most=5)])
def test_a_field_that_holds_no_answer_is_an_error(term, gold):
    with pytest.raises(HomegroundError, match=r"the field 'gold' of a task holds .*, which is no answer"):
        term({"gold": gold}, "x")


def test_a_fraction_that_json_rounded_counts_as_what_it_was():
    assert equals("gold")({"gold": 0.1 + 0.2}, "0.3") == 1
    assert equals("gold")({"gold": "0.30000000000000004"}, "0.3") == 0
    assert equals("gold")({"gold": 1e10}, "10000000001") == 0


@pytest.mark.parametrize(("terms", "message"), [({}, "needs a term"), ({"a": (math.nan, equals("x"))}, "'a' is not"),
                                                ({"a": (1.0, 2.0)}, "'a' is not")])  # fmt: skip
def test_a_reward_without_weights_is_refused_when_it_is_made(terms, message):
    with pytest.raises(UsageError, match=message):
        weighted(**terms)


@given(st.text(max_size=200))
def test_no_answer_breaks_a_ready_made_term(answer):
    task = {"gold": "x", "n": 3}
    for term in (equals("gold"), equals("n"), mentions("gold", most=5), tags("a"), length(most=5), matches(r"(a|b)*")):
        assert 0 <= term(task, answer) <= 1


def test_an_answer_too_long_to_read_earns_nothing():
    assert matches("a+")({}, "a" * 30_000) == 0
    assert length(most=1)({}, "a" * 30_000) == 0
