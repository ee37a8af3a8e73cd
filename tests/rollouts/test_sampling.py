from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from homeground.rollouts import SamplingParams
from homeground.rollouts.sampling import _invert, call_seed, choose, uniform

LOGITS = torch.tensor([2.0, 1.0, 0.0, -0.5, 1.5, -3.0, 0.3, -1.0])
DRAWS = 20_000


def counts(params):
    """How often each token is chosen over many seeds."""
    rows = [replace(params, seed=seed) for seed in range(DRAWS)]
    ids, logprobs = choose(LOGITS.repeat(DRAWS, 1), rows, [0] * DRAWS)
    return np.bincount(ids.numpy(), minlength=len(LOGITS)), ids, logprobs


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_frequencies_are_the_softmax_at_the_temperature(temperature):
    seen, ids, logprobs = counts(SamplingParams(temperature))
    expected = torch.softmax(LOGITS.double() / temperature, -1)
    assert stats.chisquare(seen, expected.numpy() * DRAWS).pvalue > 1e-3
    torch.testing.assert_close(logprobs, expected.log()[ids].float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("params", "kept"), [
    (SamplingParams(top_k=3), [0, 4, 1]),
    (SamplingParams(top_p=0.7), [0, 4, 1]),
    (SamplingParams(top_p=0.01), [0]),
    (SamplingParams(temperature=0.5, top_p=0.7), [0, 4]),
    (SamplingParams(top_k=2, top_p=0.99), [0, 4]),
    (SamplingParams(min_p=0.5), [0, 4]),
    (SamplingParams(min_p=0.3, top_p=0.9), [0, 4, 1]),
    (SamplingParams(min_p=1.0), [0]),
    (SamplingParams(temperature=2.0, min_p=0.5), [0, 4, 1]),
])  # fmt: skip
def test_truncation_keeps_the_likeliest_tokens_in_their_proportions(params, kept):
    seen, ids, logprobs = counts(params)
    whole = torch.softmax(LOGITS.double() / params.temperature, -1)
    assert sorted(seen.nonzero()[0].tolist()) == sorted(kept)
    if len(kept) > 1:
        share = whole[sorted(kept)] / whole[kept].sum()
        assert stats.chisquare(seen[sorted(kept)], share.numpy() * DRAWS).pvalue > 1e-3
    torch.testing.assert_close(
        logprobs, whole.log()[ids].float(), rtol=1e-5, atol=1e-6, msg="log-probabilities must be the policy's own"
    )


def test_top_p_is_the_smallest_set_that_reaches_it():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    for top_p, size in ((0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3)):
        rows = [SamplingParams(top_p=top_p, seed=seed) for seed in range(400)]
        ids, _ = choose(logits.repeat(400, 1), rows, [0] * 400)
        assert len(set(ids.tolist())) == size


def test_temperature_zero_takes_the_likeliest_token_at_the_policy_s_own_logprob():
    ids, logprobs = choose(LOGITS[None].clone(), [SamplingParams(temperature=0, seed=5)], [3])
    assert ids.tolist() == [0]
    torch.testing.assert_close(logprobs[0], torch.log_softmax(LOGITS, -1)[0])


def test_a_row_is_drawn_alike_whatever_stands_beside_it():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 50, generator=generator)
    params = [
        SamplingParams(t, p, k, seed, m)
        for seed, (t, p, k, m) in enumerate(
            [(1, 1, 0, 0), (0, 1, 0, 0), (0.7, 0.9, 0, 0), (2, 1, 5, 0), (1, 1, 0, 0.2), (1.3, 0.5, 9, 0.1)]
        )
    ]
    counters = [0, 4, 2, 0, 9, 1]
    together = choose(logits.clone(), params, counters)
    for row in range(6):
        alone = choose(logits[row : row + 1].clone(), [params[row]], [counters[row]])
        assert alone[0].item() == together[0][row].item()
        torch.testing.assert_close(alone[1][0], together[1][row])


def test_a_token_of_probability_zero_is_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    rows = [SamplingParams(seed=seed) for seed in range(2000)]
    ids, logprobs = choose(logits.repeat(2000, 1), rows, [0] * 2000)
    assert set(ids.tolist()) == {1, 3}
    assert torch.isfinite(logprobs).all()


@given(st.integers(0, 2**32), st.floats(0, 1, exclude_max=True), st.sampled_from([1, 5, 511, 512, 513, 2000]))
def test_the_token_is_the_one_at_which_the_running_sum_passes_the_draw(seed, draw, size):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(1, size, generator=generator) ** 8
    weights[torch.rand(1, size, generator=generator) < 0.5] = 0
    weights[0, seed % size] = 1
    found = _invert(weights, torch.tensor([[draw]], dtype=torch.float64))
    assert weights[0, found] > 0
    running = weights.double().cumsum(-1)[0]
    share = running / running[-1]
    before = share[found - 1] if found > 0 else 0.0
    assert before - 1e-6 <= draw <= share[found] + 1e-6


def test_not_even_by_a_draw_of_exactly_zero(monkeypatch):
    monkeypatch.setattr("homeground.rollouts.sampling.uniform", lambda seed, counter: 0.0)
    ids, _ = choose(torch.tensor([[-torch.inf, -torch.inf, 0.0, 0.0]]), [SamplingParams()], [0])
    assert ids.tolist() == [2]


@given(st.integers(0, 2**60), st.integers(0, 10_000))
def test_uniform_numbers_lie_in_the_half_open_interval_and_repeat(seed, counter):
    assert 0.0 <= uniform(seed, counter) < 1.0
    assert uniform(seed, counter) == uniform(seed, counter)


def test_uniform_numbers_are_uniform_along_a_row_and_across_rows():
    for numbers in ([uniform(7, i) for i in range(5000)], [uniform(i, 0) for i in range(5000)]):
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3


def test_every_part_of_a_call_s_identity_changes_its_seed():
    identity = {"seed": 1, "step": 2, "task": 3, "sibling": 4, "call": 5}
    seeds = {call_seed(**identity)} | {call_seed(**identity | {name: 9}) for name in identity}
    assert len(seeds) == 6
    assert call_seed(**identity) in seeds
    assert all(0 <= s < 2**53 for s in seeds)
