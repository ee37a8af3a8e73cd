import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.index.fuse import blend, fuse

SCORES = st.lists(
    st.tuples(st.integers(-100, 100).map(lambda n: n / 100), st.integers(0, 300).map(lambda n: n / 10)),
    min_size=1,
    max_size=20,
)


@given(SCORES, st.floats(0.01, 1), st.floats(0.01, 1))
def test_fused_scores_lie_between_0_and_1_and_respect_agreement(pairs, dense_weight, lexical_weight):
    dense = {str(at): one for at, (one, _) in enumerate(pairs)}
    lexical = {str(at): other for at, (_, other) in enumerate(pairs)}
    fused = fuse(dense, lexical, dense_weight, lexical_weight)
    assert set(fused) == set(dense)
    for a in fused:
        assert 0 <= fused[a] <= 1 + 1e-9
        for b in fused:
            if dense[a] > dense[b] and lexical[a] > lexical[b]:
                assert fused[a] > fused[b]


@given(SCORES)
def test_a_weight_of_zero_leaves_the_order_to_the_other_stage(pairs):
    dense = {str(at): one for at, (one, _) in enumerate(pairs)}
    lexical = {str(at): other for at, (_, other) in enumerate(pairs)}
    by_dense = fuse(dense, lexical, 1.0, 0.0)
    by_lexical = fuse(dense, lexical, 0.0, 2.0)
    assert sorted(dense, key=lambda key: (-by_dense[key], -dense[key])) == sorted(dense, key=lambda key: -dense[key])
    assert max(by_lexical, key=by_lexical.__getitem__) in [k for k in lexical if lexical[k] == max(lexical.values())]


def test_stages_count_by_their_weights():
    fused = fuse({"a": 0.2, "b": 0.6, "c": 0.4}, {"a": 10, "b": 0, "c": 5}, 0.75, 0.25)
    assert fused == pytest.approx({"a": 0.25, "b": 0.75, "c": 0.5})


def test_a_later_stage_is_mixed_by_its_weight():
    first, second = [1.0, 0.5, 0.0], [-4.0, 6.0, 1.0]
    assert blend(first, second, 0.0) == [1.0, 0.5, 0.0]
    assert blend(first, second, 1.0) == [0.0, 1.0, 0.5]
    assert blend(first, second, 0.5) == [0.5, 0.75, 0.25]
    assert blend([2.0], [3.0], 0.5) == [0.0]
