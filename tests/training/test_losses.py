import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homeground.training import LossTerms, grpo_loss, kl_k3

N = 6


def terms(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)

    def random():
        return torch.randn(N, generator=generator, dtype=torch.float64)

    fields = {"old": -random().abs(), "reference": -random().abs(), "advantage": random(), "weight": random().abs()}
    return LossTerms(**(fields | changes))


def by_hand(logprobs, t, low, high, beta):
    """Equation 3, one token at a time, in plain numbers."""
    total = 0.0
    for lp, old, ref, a, w in zip(logprobs, t.old, t.reference, t.advantage, t.weight, strict=True):
        lp, old, ref, a, w = (float(x) for x in (lp, old, ref, a, w))
        ratio = math.exp(lp - old)
        gain = min(ratio * a, min(max(ratio, 1 - low), 1 + high) * a)
        kl = math.exp(ref - lp) - (ref - lp) - 1
        total += w * (beta * kl - gain)
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_value_is_the_paper_s(seed, beta):
    t = terms(seed)
    logprobs = t.old + torch.linspace(-0.6, 0.6, N, dtype=torch.float64)
    value = grpo_loss(logprobs, t, clip_low=0.2, clip_high=0.3, kl_coef=beta)
    assert float(value.loss) == pytest.approx(by_hand(logprobs, t, 0.2, 0.3, beta), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_equals_finite_differences(seed):
    t = terms(seed)
    # Ratios 0.55 to 1.8, none of them within a difference of the clip's edges 0.8 and 1.2.
    logprobs = (t.old + torch.tensor([-0.6, -0.3, -0.1, 0.1, 0.3, 0.6], dtype=torch.float64)).requires_grad_(True)
    grpo_loss(logprobs, t, kl_coef=0.3).loss.backward()
    h = 1e-6
    for i in range(N):
        step = torch.zeros(N, dtype=torch.float64)
        step[i] = h
        up, down = (by_hand(logprobs.detach() + s, t, 0.2, 0.2, 0.3) for s in (step, -step))
        assert float(logprobs.grad[i]) == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-8)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_never_negative_and_zero_only_where_the_two_agree(mine, reference):
    value = float(kl_k3(torch.tensor(mine, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)))
    assert value >= 0
    assert float(kl_k3(torch.tensor(mine), torch.tensor(mine))) == 0
    if abs(mine - reference) > 1e-3:
        assert value > 0


def test_k3_has_the_mean_of_the_divergence():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.log_softmax(torch.randn(50, generator=generator, dtype=torch.float64), -1) for _ in range(2))
    estimate = (p.exp() * kl_k3(p, q)).sum()
    torch.testing.assert_close(estimate, (p.exp() * (p - q)).sum())


def test_k3_is_differentiated_as_written():
    mine = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-1.5, -1.0], dtype=torch.float64)
    kl_k3(mine, reference).sum().backward()
    torch.testing.assert_close(mine.grad, 1 - torch.exp(reference - mine.detach()))


@pytest.mark.parametrize(("advantage", "ratio", "bound"), [
    (+1.0, 1.5, True),   # a good token is not pushed beyond 1.2
    (+1.0, 0.5, False),  # but is pulled back up from below
    (-1.0, 0.5, True),   # a bad token is not pushed below 0.8
    (-1.0, 1.5, False),  # but is pulled down from above
    (+1.0, 1.1, False),
    (-1.0, 0.9, False),
])  # fmt: skip
def test_the_clip_binds_on_the_side_that_runs_away(advantage, ratio, bound):
    one = torch.ones(1, dtype=torch.float64)
    logprobs = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    value = grpo_loss(logprobs, LossTerms(0 * one, 0 * one, advantage * one, one))
    value.loss.backward()
    expected = 0.0 if bound else -advantage * ratio
    assert float(logprobs.grad) == pytest.approx(expected)
    assert float(value.clip_share) == float(bound)
    assert float(value.ratio) == pytest.approx(ratio)


def test_the_clip_s_two_sides_are_set_apart():
    one = torch.ones(1, dtype=torch.float64)
    up = LossTerms(0 * one, 0 * one, one, one)
    ratio = torch.tensor([1.3], dtype=torch.float64).log()
    assert float(grpo_loss(ratio, up, clip_high=0.4).loss) == pytest.approx(-1.3)
    assert float(grpo_loss(ratio, up, clip_high=0.25).loss) == pytest.approx(-1.25)
    down = LossTerms(0 * one, 0 * one, -one, one)
    ratio = torch.tensor([0.6], dtype=torch.float64).log()
    assert float(grpo_loss(ratio, down, clip_low=0.3).loss) == pytest.approx(0.7)


def test_at_the_first_step_the_ratio_is_one_and_the_gradient_is_not_zero():
    t = terms(0)
    logprobs = t.old.clone().requires_grad_(True)
    same = LossTerms(t.old, t.old, t.advantage, t.weight)
    value = grpo_loss(logprobs, same, kl_coef=0.5)
    value.loss.backward()
    assert torch.equal(value.ratio, torch.ones(N, dtype=torch.float64))
    assert float(value.kl) == float(value.clip_share) == 0
    torch.testing.assert_close(logprobs.grad, -t.weight * t.advantage)


def test_splitting_the_terms_adds_up():
    t = terms(3)
    logprobs = t.old + 0.1
    whole = grpo_loss(logprobs, t, kl_coef=0.2)
    parts = [
        grpo_loss(logprobs[s], LossTerms(t.old[s], t.reference[s], t.advantage[s], t.weight[s]), kl_coef=0.2)
        for s in (slice(0, 2), slice(2, 6))
    ]
    for name in ("loss", "kl", "clip_share"):
        torch.testing.assert_close(sum(getattr(p, name) for p in parts), getattr(whole, name))
