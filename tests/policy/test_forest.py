import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homeground.policy import TokenForest, TokenPath
from homeground.policy.attention import visible
from homeground.policy.forest import common_prefix


@st.composite
def paths(draw):
    """Few letters and short runs, so that prefixes, equal paths and nested paths are common."""
    ids = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=8))
    return [TokenPath(row, sorted(draw(st.sets(st.integers(1, len(row) - 1)))) if len(row) > 1 else []) for row in ids]


def nodes_of(forest, ids):
    """The forest's tokens along a path, found through the segments' parents alone."""
    ends = {}
    for index, s in enumerate(forest.segments):
        above = ends[s.parent] if s.parent >= 0 else []
        ends[index] = above + list(range(s.start, s.stop))
    for chain in ends.values():
        if forest.ids[chain[: len(ids)]].tolist() == list(ids):
            return chain[: len(ids)]
    raise AssertionError(f"{ids} is in no chain of segments")


@given(paths())
def test_every_path_can_be_read_back_at_its_own_depth(paths):
    forest = TokenForest.build(paths)
    for path in paths:
        nodes = nodes_of(forest, path.ids)
        assert forest.ids[nodes].tolist() == list(path.ids)
        assert forest.positions[nodes].tolist() == list(range(len(path.ids)))


@given(paths())
def test_every_distinct_prefix_is_stored_once(paths):
    forest = TokenForest.build(paths)
    prefixes = {tuple(p.ids[: i + 1]) for p in paths for i in range(len(p.ids))}
    assert len(forest) == len(forest.ids) == len(forest.positions) == len(prefixes)
    assert forest.path_tokens == sum(len(p.ids) for p in paths)


@given(paths())
def test_descendants_are_the_tokens_that_follow_contiguously(paths):
    segments = TokenForest.build(paths).segments
    for index, s in enumerate(segments):
        below = {index}
        for other, t in enumerate(segments):
            if t.parent in below:
                below.add(other)
        tokens = sorted(i for d in below - {index} for i in range(segments[d].start, segments[d].stop))
        assert tokens == list(range(s.stop, s.below))
        assert s.parent < index
        assert s.start < s.stop <= s.below


@given(paths())
def test_segments_cover_the_forest_and_end_only_where_paths_fork_or_end(paths):
    forest = TokenForest.build(paths)
    assert [i for s in forest.segments for i in range(s.start, s.stop)] == list(range(len(forest)))
    last_tokens = {nodes_of(forest, path.ids)[-1] for path in paths}
    for index, s in enumerate(forest.segments):
        heads = [int(forest.ids[t.start]) for t in forest.segments if t.parent == index]
        assert len(set(heads)) == len(heads)
        assert len(heads) != 1 or s.stop - 1 in last_tokens


@given(paths())
def test_terms_name_the_node_before_each_trained_token_path_by_path(paths):
    forest = TokenForest.build(paths)
    expected = [
        (nodes_of(forest, path.ids)[t - 1], path.ids[t], index)
        for index, path in enumerate(paths)
        for t in path.trained
    ]
    found = list(zip(forest.source.tolist(), forest.target.tolist(), forest.path.tolist(), strict=True))
    assert found == expected


@given(paths())
def test_a_token_sees_exactly_its_own_prefix(paths):
    forest = TokenForest.build(paths)
    mask = visible(forest)
    expected = torch.zeros_like(mask)
    for path in paths:
        nodes = nodes_of(forest, path.ids)
        for depth, node in enumerate(nodes):
            expected[node, nodes[: depth + 1]] = True
    assert torch.equal(mask, expected)


@given(paths(), st.integers(1, 8))
def test_a_window_counts_positions_along_the_path(paths, window):
    forest = TokenForest.build(paths)
    mask = visible(forest, window)
    for path in paths:
        nodes = nodes_of(forest, path.ids)
        for depth, node in enumerate(nodes):
            seen = mask[node].nonzero()[:, 0].tolist()
            assert seen == sorted(nodes[max(0, depth - window + 1) : depth + 1])


@given(st.lists(st.integers(0, 1), max_size=6), st.lists(st.integers(0, 1), max_size=8), st.data())
def test_common_prefix_counts_equal_tokens_from_the_offset(ids, other, data):
    offset = data.draw(st.integers(0, len(other)))
    n = common_prefix(ids, other, offset)
    assert ids[:n] == other[offset : offset + n]
    assert n == len(ids) or offset + n == len(other) or ids[n] != other[offset + n]
    assert common_prefix(tuple(ids), other, offset) == n


def test_the_worked_example_of_the_docstring():
    forest = TokenForest.build([TokenPath([5, 6, 7], [2]), TokenPath([5, 6, 8, 9], [2, 3]), TokenPath([4, 2], [1])])
    assert forest.ids.tolist() == [5, 6, 7, 8, 9, 4, 2]
    assert forest.positions.tolist() == [0, 1, 2, 2, 3, 0, 1]
    assert [(s.parent, s.start, s.stop, s.below) for s in forest.segments] == [
        (-1, 0, 2, 5),
        (0, 2, 3, 3),
        (0, 3, 5, 5),
        (-1, 5, 7, 7),
    ]
    assert forest.source.tolist() == [1, 1, 3, 5]
    assert forest.target.tolist() == [7, 8, 9, 2]
    assert forest.path.tolist() == [0, 1, 1, 2]


def test_a_history_that_forks_deeper_than_python_recurses_is_laid_out():
    trunk = list(range(1500))
    forest = TokenForest.build([TokenPath([*trunk[: n + 1], -1], [n + 1]) for n in range(1500)])
    assert len(forest) == 1500 + 1500
    assert forest.segments[0].below == len(forest)


def test_equal_paths_share_every_token_and_keep_a_term_each():
    forest = TokenForest.build([TokenPath([1, 2, 3], [1, 2])] * 3)
    assert len(forest) == 3
    assert forest.path.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_forest_without_paths_is_refused():
    with pytest.raises(ValueError, match="at least one path"):
        TokenForest.build([])


@pytest.mark.parametrize(("ids", "trained", "message"), [
    ([], [], "at least one token"),
    ([1, 2], [0], r"1\.\.1 .*nothing predicts token 0"),
    ([1, 2], [2], r"1\.\.1"),
])  # fmt: skip
def test_a_path_that_cannot_be_trained_says_why(ids, trained, message):
    with pytest.raises(ValueError, match=message):
        TokenPath(ids, trained)
