import itertools

from hypothesis import given
from hypothesis import strategies as st

from homeground.rollouts import Turn, sampled_paths

ids = st.lists(st.integers(0, 3), min_size=1, max_size=4)


def turn(prompt, sampled, first_logprob=0.0):
    return Turn(prompt, sampled, [first_logprob - i for i in range(len(sampled))], "stop", 0)


@st.composite
def conversations(draw):
    """Turns that continue the turn before, or (sometimes) do not."""
    turns = []
    before = []
    for number in range(draw(st.integers(1, 5))):
        prompt = before + draw(ids) if draw(st.integers(0, 3)) else draw(ids)
        sampled = draw(ids)
        turns.append(turn(prompt, sampled, -10.0 * number))
        before = prompt + sampled
    return turns


@given(conversations())
def test_every_sampled_id_is_trained_once_in_order_with_its_own_logprob(turns):
    paths = sampled_paths(turns)
    trained = [(p.tokens.ids[t], lp) for p in paths for t, lp in zip(p.tokens.trained, p.logprobs, strict=True)]
    assert trained == [(i, lp) for t in turns for i, lp in zip(t.ids, t.logprobs, strict=True)]


@given(conversations())
def test_what_a_token_is_conditioned_on_is_what_the_model_had_read(turns):
    contexts = [[*t.prompt_ids, *t.ids[:k]] for t in turns for k in range(len(t.ids))]
    found = [list(p.tokens.ids[:t]) for p in sampled_paths(turns) for t in p.tokens.trained]
    assert found == contexts


@given(conversations())
def test_a_new_path_begins_exactly_where_a_prompt_does_not_extend_the_turn_before(turns):
    breaks = sum(
        list(now.prompt_ids)[: len(before.prompt_ids) + len(before.ids)] != [*before.prompt_ids, *before.ids]
        for before, now in itertools.pairwise(turns)
    )
    assert len(sampled_paths(turns)) == 1 + breaks


def test_two_turns_of_one_conversation_are_one_path():
    (path,) = sampled_paths([turn([1, 2], [3, 4]), turn([1, 2, 3, 4, 5], [6])])
    assert list(path.tokens.ids) == [1, 2, 3, 4, 5, 6]
    assert list(path.tokens.trained) == [2, 3, 5]


def test_a_retokenized_history_starts_a_path_of_its_own():
    paths = sampled_paths([turn([1, 2], [3, 4]), turn([1, 2, 34, 5], [6])])
    assert [list(p.tokens.ids) for p in paths] == [[1, 2, 3, 4], [1, 2, 34, 5, 6]]
    assert [list(p.tokens.trained) for p in paths] == [[2, 3], [4]]


def test_no_turns_are_no_paths():
    assert sampled_paths([]) == []
