"""The plain part, which other devices run, against the fused one of the CPU and against the equations."""

import pytest
import torch

from homeground.policy.attention import Scoring, merge
from homeground.rollouts import decoding
from homeground.rollouts.decoding import part, plain_part, sink, within

PLAIN = Scoring(scale=0.3)


def tensors(queries=7, keys=9, *, seed=0, dtype=torch.float32, size=8, value_size=8):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, queries, size), (2, 3, keys, size), (2, 3, keys, value_size))
    return [torch.randn(s, generator=generator).to(dtype) for s in shapes]


def by_definition(query, key, value, scoring, mask=None):
    scores = query.double() @ key.double().transpose(-1, -2) * scoring.scale
    if scoring.softcap:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    weights = scores.exp() if mask is None else scores.exp() * mask
    total = weights.sum(-1)
    return (weights / total[..., None].clamp_min(1e-300)) @ value.double(), total.log()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_it_equals_the_fused_part(causal, dtype, tolerance):
    query, key, value = tensors(9, 9, dtype=dtype)
    fused, fused_lse = part(query, key, value, PLAIN, causal=causal)
    plain, plain_lse = plain_part(query, key, value, PLAIN, causal=causal)
    torch.testing.assert_close(plain, fused, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(plain_lse, fused_lse, atol=tolerance, rtol=tolerance)
    assert plain.dtype is fused.dtype is dtype
    assert plain_lse.dtype is fused_lse.dtype is torch.float32


@pytest.mark.parametrize("at_once", [1 << 26, 100, 1])
@pytest.mark.parametrize("scoring", [PLAIN, Scoring(scale=0.9, softcap=1.5)])
def test_it_is_what_the_equations_say_in_blocks_of_any_size(at_once, scoring, monkeypatch):
    monkeypatch.setattr(decoding, "SCORES_AT_ONCE", at_once)
    query, key, value = tensors(value_size=5)
    mask = torch.rand(7, 9, generator=torch.Generator().manual_seed(1)) > 0.4
    mask[:, 0] = True
    for seen in (None, mask, mask[:1]):
        out, lse = plain_part(query, key, value, scoring, mask=seen)
        expected, expected_lse = by_definition(query, key, value, scoring, seen)
        torch.testing.assert_close(out, expected.float(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(lse, expected_lse.float(), atol=1e-5, rtol=1e-5)


def test_a_query_that_sees_nothing_adds_nothing():
    query, key, value = tensors()
    mask = torch.ones(7, 9, dtype=torch.bool)
    mask[3] = False
    out, lse = part(query, key, value, PLAIN, mask=mask)
    assert (lse[:, :, 3] == -torch.inf).all()
    assert (out[:, :, 3] == 0).all()
    whole, whole_lse = (t.clone() for t in part(query, key, value, PLAIN))
    merge(whole, whole_lse, out, lse)
    torch.testing.assert_close(whole[:, :, 3], part(query, key, value, PLAIN)[0][:, :, 3])
    assert torch.isfinite(whole).all()


def test_a_sink_takes_its_share_and_returns_nothing():
    query, key, value = tensors()
    sinks = torch.tensor([0.5, -1.0, 2.0])
    out, lse = part(query, key, value, PLAIN)
    sink(out, lse, sinks.view(1, 3, 1))
    scores = query.double() @ key.double().transpose(-1, -2) * 0.3
    with_sink = torch.cat([scores, sinks.double().view(1, 3, 1, 1).expand(2, 3, 7, 1)], -1)
    expected = torch.softmax(with_sink, -1)[..., :-1] @ value.double()
    torch.testing.assert_close(out, expected.float(), atol=1e-5, rtol=1e-5)


def test_a_window_is_a_distance():
    queries, keys = torch.tensor([5, 6]), torch.tensor([2, 3, 4, 5])
    assert within(queries, keys, None) is None
    assert within(queries, keys, 5) is None
    assert within(queries, keys, 3).tolist() == [[False, True, True, True], [False, False, True, True]]
