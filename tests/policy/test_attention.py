from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.policy import TokenForest, attention, attention_gradient
from homeground.policy.attention import (
    ForestLayout,
    Scoring,
    forest_attention,
    masked_attention,
    merge,
    part,
    plan,
    visible,
    windowed_plan,
)

from . import tiny

PLAIN = Scoring(scale=0.3)


def tensors(forest, *, heads=4, kv_heads=2, size=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    n = len(forest)
    shapes = ((1, heads, n, size), (1, kv_heads, n, size), (1, kv_heads, n, size))
    return [torch.randn(s, generator=generator).to(dtype).requires_grad_(True) for s in shapes]


def by_definition(forest, query, key, value, scoring):
    """Attention as the equations say, in float64, one explicit softmax over the keys that a token sees."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1).double(), value.repeat_interleave(groups, 1).double()
    scores = query.double() @ key.transpose(-1, -2) * scoring.scale
    if scoring.softcap:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    weights = scores.exp() * seen_by_chains(forest, scoring.window)
    total = weights.sum(-1, keepdim=True)
    if scoring.sinks is not None:
        total = total + scoring.sinks.double().exp().view(1, -1, 1, 1)
    return weights / total @ value


forests = st.builds(
    lambda seed, depth, fan: TokenForest.build(tiny.random_paths(seed, depth=depth, fan=fan)),
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(1, 4),
)
# From "no two segments in one call" to "everything in one call".
blocks = st.sampled_from([1, 4, 10, 25, 512])


windows = st.sampled_from([1, 2, 3, 5, 8, 100])


def seen_by_chains(forest, window=None):
    """Who sees whom, from the segments' parents alone."""
    seen = torch.zeros(len(forest), len(forest), dtype=torch.bool)
    for segment in forest.segments:
        chain = list(range(segment.start, segment.stop))
        above = segment.parent
        while above >= 0:
            chain = [*range(forest.segments[above].start, forest.segments[above].stop), *chain]
            above = forest.segments[above].parent
        for depth, query in enumerate(chain):
            first = 0 if window is None else max(0, depth - window + 1)
            seen[query, chain[first : depth + 1]] = True
    return seen


@given(forests, st.none() | windows)
def test_a_token_sees_its_own_path(forest, window):
    assert torch.equal(visible(forest, window), seen_by_chains(forest, window))


@given(forests, blocks, st.none() | windows)
def test_the_parts_cover_what_each_token_sees_exactly_once(forest, block, window):
    with mock.patch.object(attention, "BLOCK", block):
        parts = plan(forest) if window is None else windowed_plan(forest, window)
    everything = visible(forest, window)
    seen = torch.zeros(everything.shape, dtype=torch.long)
    begun = torch.zeros(len(forest), dtype=torch.long)
    for p in parts:
        rows, keys = p.queries, p.keys
        shape = (rows.stop - rows.start, keys.stop - keys.start)
        if p.masked:
            assert shape[0] <= block
            assert shape[1] <= block if window is None else shape[1] <= max(block, window)
            seen[rows, keys] += everything[rows, keys]
        else:
            seen[rows, keys] += torch.ones(shape, dtype=torch.long).tril() if p.causal else 1
        if p.first:
            begun[rows] += 1
        else:
            assert bool(begun[rows].all()), "merged into before it was begun"
    assert torch.equal(seen, everything.long())
    assert torch.equal(begun, torch.ones_like(begun))


@settings(max_examples=40)
@given(
    forests, st.sampled_from([1, 2, 4]), blocks, st.none() | windows, st.integers(0, 100), st.sampled_from([0.3, 0.25])
)
def test_the_fast_path_equals_the_definition_in_values_and_gradients(forest, kv_heads, block, window, seed, scale):
    scoring = Scoring(scale, window=window)
    q, k, v = tensors(forest, kv_heads=kv_heads, seed=seed)
    with mock.patch.object(attention, "BLOCK", block):
        out = ForestLayout(forest).attend(0, q, k, v, scoring)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
    # Few queries a product, so that small forests have several.
    with mock.patch.object(attention_gradient, "ROWS", 3), mock.patch.object(attention_gradient, "SCORES", 64):
        fast = torch.autograd.grad(out, (q, k, v), upstream)
    expected = by_definition(forest, q, k, v, scoring)
    slow = torch.autograd.grad(expected, (q, k, v), upstream.double())
    torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.125, 0.11])
def test_gradients_in_half_precision_are_off_by_its_rounding_and_no_more(scale):
    forest = TokenForest.build(tiny.random_paths(3, depth=2, fan=4))
    q, k, v = (4 * t.detach() for t in tensors(forest, size=64))
    halves = [t.to(torch.bfloat16).requires_grad_(True) for t in (q, k, v)]
    upstream = torch.randn(q.shape, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    out = ForestLayout(forest).attend(0, *halves, Scoring(scale))
    found = torch.autograd.grad(out, halves, upstream)
    exact = torch.autograd.grad(by_definition(forest, *halves, Scoring(scale)), halves, upstream.double())
    for mine, theirs in zip(found, exact, strict=True):
        # bf16 has eight bits; the scores reach 60.
        assert float((mine.double() - theirs.double()).norm() / theirs.double().norm()) < 0.015


@pytest.mark.parametrize("scoring", [
    Scoring(0.3, window=3),
    Scoring(0.3, softcap=2.0),
    Scoring(0.3, sinks=torch.tensor([0.5, -1.0, 2.0, 0.0])),
    Scoring(0.3, window=4, softcap=1.5, sinks=torch.tensor([0.5, -1.0, 2.0, 0.0])),
], ids=["window", "softcap", "sinks", "all three"])  # fmt: skip
def test_windows_soft_caps_and_sinks_equal_the_definition(scoring):
    forest = TokenForest.build(tiny.random_paths(3))
    q, k, v = tensors(forest)
    out = ForestLayout(forest).attend(0, q, k, v, scoring)
    expected = by_definition(forest, q, k, v, scoring)
    torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-6)
    upstream = torch.ones_like(out)
    for mine, theirs in zip(
        torch.autograd.grad(out, (q, k, v), upstream), torch.autograd.grad(expected, (q, k, v), upstream), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_window_wider_than_every_path_changes_nothing():
    forest = TokenForest.build(tiny.random_paths(4))
    q, k, v = tensors(forest)
    layout = ForestLayout(forest)
    wide = layout.attend(0, q, k, v, Scoring(0.3, window=1000))
    torch.testing.assert_close(layout.attend(0, q, k, v, PLAIN), wide, rtol=1e-5, atol=1e-6)


def test_parts_of_a_query_merge_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8, generator=generator) for n in (5, 12, 12))
    whole, whole_lse = part(q, k, v, 0.3)
    out, lse = (t.clone() for t in part(q, k[:, :, :4], v[:, :, :4], 0.3))
    merge(out, lse, *part(q, k[:, :, 4:], v[:, :, 4:], 0.3))
    torch.testing.assert_close(out, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(lse, whole_lse, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_masked_attention_without_extras_is_what_torch_computes(kv_heads):
    forest = TokenForest.build(tiny.random_paths(5))
    q, k, v = tensors(forest, kv_heads=kv_heads)
    expected = by_definition(forest, q, k, v, PLAIN).float()
    torch.testing.assert_close(masked_attention(q, k, v, visible(forest), PLAIN), expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_drops_the_layout_is_named():
    with pytest.raises(RuntimeError, match="Linear does not pass the 'forest' keyword"):
        forest_attention(torch.nn.Linear(1, 1), *[torch.zeros(1, 1, 1, 8)] * 3, None)
