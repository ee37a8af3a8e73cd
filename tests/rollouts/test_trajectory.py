from hypothesis import given
from hypothesis import strategies as st

from homeground.rollouts import Turn, sampled_paths
from homeground.rollouts.trajectory import PathStart

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
def test_every_sampled_id_is_trained_once_with_what_it_was_conditioned_on_and_its_own_logprob(turns):
    sampled = [
        ([*t.prompt_ids, *t.ids[:k]], i, lp)
        for t in turns
        for k, (i, lp) in enumerate(zip(t.ids, t.logprobs, strict=True))
    ]
    trained = [
        (list(p.tokens.ids[:t]), p.tokens.ids[t], lp)
        for p in sampled_paths(turns)
        for t, lp in zip(p.tokens.trained, p.logprobs, strict=True)
    ]
    assert sorted(trained) == sorted(sampled)


@given(conversations())
def test_a_new_path_begins_exactly_where_a_prompt_extends_the_end_of_none(turns):
    ends, begun = [], 0
    for now in turns:
        continued = [end for end in ends if list(now.prompt_ids)[: len(end)] == end]
        if continued:
            ends.remove(max(continued, key=len))
        else:
            begun += 1
        ends.append([*now.prompt_ids, *now.ids])
    assert len(sampled_paths(turns)) == begun


def starts(*turns):
    return [path.start for path in sampled_paths([turn(*t) for t in turns])]


def test_two_agents_that_take_turns_are_two_paths():
    paths = sampled_paths([turn([1], [2]), turn([9], [8]), turn([1, 2, 3], [4]), turn([9, 8, 7], [6])])
    assert [list(p.tokens.ids) for p in paths] == [[1, 2, 3, 4], [9, 8, 7, 6]]
    assert [p.start for p in paths] == [PathStart.FIRST, PathStart.SEPARATE]


def test_it_is_told_why_a_path_began():
    assert starts(([1], [2]), ([1], [3])) == [PathStart.FIRST, PathStart.FORK]
    assert starts(([1], [2]), ([1, 2, 3], [4]), ([1, 2, 5], [6])) == [PathStart.FIRST, PathStart.FORK]
    assert starts(([1], [2, 3]), ([1, 23, 4], [5])) == [PathStart.FIRST, PathStart.REWRITTEN]
    assert starts(([1, 2], [3]), ([1, 7], [4])) == [PathStart.FIRST, PathStart.SEPARATE]


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
