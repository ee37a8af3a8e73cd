from hypothesis import given
from hypothesis import strategies as st

from homeground.policy import TokenForest, TokenPath
from homeground.training.packing import distinct_tokens, pack

paths = st.lists(st.integers(0, 3), min_size=1, max_size=9).map(lambda ids: TokenPath(ids, []))
groups = st.lists(st.lists(paths, min_size=1, max_size=4), min_size=1, max_size=10)


@given(groups, st.integers(1, 30))
def test_every_group_is_packed_once_within_the_budget(groups, budget):
    forests = pack(groups, budget)
    assert sorted(i for chosen in forests for i in chosen) == list(range(len(groups)))
    for chosen in forests:
        together = len(TokenForest.build([path for i in chosen for path in groups[i]]))
        assert together <= budget or len(chosen) == 1


@given(groups, st.integers(1, 30))
def test_no_two_forests_could_have_been_one(groups, budget):
    """First fit leaves at most one forest half empty."""
    sizes = [sum(len(TokenForest.build(groups[i])) for i in chosen) for chosen in pack(groups, budget)]
    assert sum(size * 2 <= budget for size in sizes) <= 1


@given(st.lists(paths, min_size=1, max_size=6))
def test_tokens_are_counted_as_a_forest_holds_them(group):
    assert distinct_tokens(group) == len(TokenForest.build(group))


def test_the_largest_forest_comes_first():
    """It is the one that runs out of memory, so it must do so at once."""
    groups = [[TokenPath(range(n), [])] for n in (3, 9, 5, 7)]
    assert pack(groups, 10)[0] == [1]


def test_the_same_groups_are_packed_the_same_way():
    groups = [[TokenPath([i, *range(4)], [])] for i in range(9)]
    assert pack(groups, 11) == pack(groups, 11)
