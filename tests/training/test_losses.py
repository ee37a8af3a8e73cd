import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homeground.training import (
    OBJECTIVES,
    GrpoConfig,
    Kl,
    Loss,
    LossTerms,
    LossValue,
    StepCounts,
    kl_estimate,
    policy_loss,
)

from .documented import documented

N = 6
ROLLOUT = [0, 0, 0, 1, 1, 2]


def terms(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)

    def random():
        return torch.randn(N, generator=generator, dtype=torch.float64)

    fields = {
        "old": -random().abs(),
        "sampled": -random().abs(),
        "reference": -random().abs(),
        "advantage": random()[torch.tensor(ROLLOUT)],
        "weight": random().abs(),
        "rollout": torch.tensor(ROLLOUT),
        "off_policy": torch.zeros(N, dtype=torch.bool),
    }
    return LossTerms(**(fields | changes))


def one_term(ratio, advantage):
    """A single token with a given ratio; its old log-probability is 0."""
    one = torch.ones(1, dtype=torch.float64)
    logprobs = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    rollout = torch.zeros(1, dtype=torch.long)
    return logprobs, LossTerms(0 * one, 0 * one, None, advantage * one, one, rollout, rollout.bool())


def by_hand(logprobs, t, objective):
    """The module's formula, one token at a time, in plain numbers."""
    logprobs = [float(x) for x in logprobs]
    total = 0.0
    for i in range(N):
        mates = [j for j in range(N) if ROLLOUT[j] == ROLLOUT[i]]
        log_ratio = logprobs[i] - float(t.old[i])
        trust = float(t.old[i] - t.sampled[i])
        if objective.objective is Loss.GSPO:
            log_ratio = sum(logprobs[j] - float(t.old[j]) for j in mates) / len(mates)
            trust = sum(float(t.old[j] - t.sampled[j]) for j in mates) / len(mates)
        ratio, a = math.exp(log_ratio), float(t.advantage[i])
        gain = min(ratio * a, min(max(ratio, 1 - objective.clip_low), 1 + objective.clip_high) * a)
        if objective.importance_cap:
            gain *= min(math.exp(trust), objective.importance_cap)
        d = float(t.reference[i]) - logprobs[i]
        kl = {Kl.K1: 0.0, Kl.K2: d * d / 2}.get(objective.kl, math.exp(d) - d - 1)
        total += float(t.weight[i]) * (objective.kl_coef * kl - gain)
    return total


objectives = st.builds(
    GrpoConfig,
    objective=st.sampled_from(Loss),
    kl=st.sampled_from(Kl),
    kl_coef=st.sampled_from([0.0, 0.3]),
    clip_low=st.sampled_from([0.1, 0.2]),
    clip_high=st.sampled_from([0.2, 0.28]),
    importance_cap=st.sampled_from([0.0, 1.1, 2.0]),
)


@given(st.integers(0, 20), objectives)
def test_the_value_is_the_formula_s(seed, objective):
    t = terms(seed)
    logprobs = t.old + torch.linspace(-0.6, 0.6, N, dtype=torch.float64)
    assert float(policy_loss(logprobs, t, objective).loss) == pytest.approx(by_hand(logprobs, t, objective), rel=1e-9)


@given(st.integers(0, 20), objectives.filter(lambda o: o.kl is not Kl.K3_ST))
def test_the_gradient_equals_finite_differences(seed, objective):
    t = terms(seed)
    # No ratio, of a token or of a rollout, lies within a difference of a clip's edge.
    logprobs = (t.old + torch.tensor([-0.6, -0.31, -0.04, 0.07, 0.33, 0.6], dtype=torch.float64)).requires_grad_(True)
    policy_loss(logprobs, t, objective).loss.backward()
    h = 1e-6
    for i in range(N):
        step = torch.zeros(N, dtype=torch.float64)
        step[i] = h
        up, down = (by_hand(logprobs.detach() + s, t, objective) for s in (step, -step))
        assert float(logprobs.grad[i]) == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("loss", Loss)
def test_the_weights_of_a_step_are_the_papers_means(loss):
    lengths, limit = [3, 2, 1], 10
    weights = [OBJECTIVES[loss][1](StepCounts(n, len(lengths), sum(lengths), limit)) for n in lengths]
    shares = [n * w for n, w in zip(lengths, weights, strict=True)]
    expected = {
        Loss.GRPO: [1 / 3] * 3,  # a mean over rollouts of means over tokens
        Loss.GSPO: [1 / 3] * 3,
        Loss.DAPO: [3 / 6, 2 / 6, 1 / 6],  # a mean over all tokens
        Loss.DR_GRPO: [3 / 30, 2 / 30, 1 / 30],  # a sum over a constant
    }[loss]
    assert shares == pytest.approx(expected)


@given(st.floats(-20, 0), st.floats(-20, 0), st.sampled_from([Kl.K2, Kl.K3, Kl.K3_ST]))
def test_a_divergence_is_never_negative_and_zero_only_where_the_two_agree(mine, reference, kind):
    def value(a, b):
        return float(kl_estimate(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64), kind))

    assert value(mine, reference) >= 0
    assert value(mine, mine) == 0
    if abs(mine - reference) > 1e-3:
        assert value(mine, reference) > 0


def tiny_policies(size=5):
    """Logits of a policy over a tiny vocabulary, with gradients, and a reference's log-probabilities."""
    generator = torch.Generator().manual_seed(0)
    logits, reference = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))
    return logits.requires_grad_(True), torch.log_softmax(reference, -1)


@pytest.mark.parametrize("kind", [Kl.K1, Kl.K3, Kl.K3_ST])
def test_enumerated_over_a_vocabulary_an_estimate_s_mean_is_the_divergence(kind):
    logits, reference = tiny_policies()
    policy = torch.log_softmax(logits, -1).detach()
    mean = (policy.exp() * kl_estimate(policy, reference, kind)).sum()
    torch.testing.assert_close(mean, (policy.exp() * (policy - reference)).sum())


def enumerated_gradient(kind):
    """The expected gradient of the estimate when tokens are sampled from the policy."""
    logits, reference = tiny_policies()
    policy = torch.log_softmax(logits, -1)
    (policy.detach().exp() * kl_estimate(policy, reference, kind)).sum().backward()
    return logits.grad


def true_gradient(forward):
    logits, reference = tiny_policies()
    policy = torch.log_softmax(logits, -1)
    divergence = reference.exp() * (reference - policy) if forward else policy.exp() * (policy - reference)
    divergence.sum().backward()
    return logits.grad


@pytest.mark.parametrize("kind", [Kl.K2, Kl.K3_ST])
def test_k2_and_k3_straight_through_have_the_gradient_of_the_divergence(kind):
    torch.testing.assert_close(enumerated_gradient(kind), true_gradient(forward=False))


def test_k3_as_written_has_the_gradient_of_the_divergence_from_the_other_side():
    torch.testing.assert_close(enumerated_gradient(Kl.K3), true_gradient(forward=True))
    assert not torch.allclose(enumerated_gradient(Kl.K3), true_gradient(forward=False), rtol=0.05)


def test_k1_has_no_gradient_in_the_mean():
    torch.testing.assert_close(enumerated_gradient(Kl.K1), torch.zeros(5, dtype=torch.float64))


def test_enumerated_over_a_vocabulary_the_loss_has_the_gradient_of_the_expected_advantage():
    logits, _ = tiny_policies()
    advantage = torch.tensor([1.0, -0.5, 0.2, 0.0, -2.0], dtype=torch.float64)
    policy = torch.log_softmax(logits, -1)
    old = policy.detach()
    t = LossTerms(old, old, None, advantage, old.exp(), torch.arange(5), torch.zeros(5, dtype=torch.bool))
    policy_loss(policy, t, GrpoConfig()).loss.backward()
    twin, _ = tiny_policies()
    (-(torch.softmax(twin, -1) * advantage).sum()).backward()
    torch.testing.assert_close(logits.grad, twin.grad)


@pytest.mark.parametrize(("advantage", "ratio", "bound"), [
    (+1.0, 1.5, True),   # a good token is not pushed beyond 1.2
    (+1.0, 0.5, False),  # but is pulled back up from below
    (-1.0, 0.5, True),   # a bad token is not pushed below 0.8
    (-1.0, 1.5, False),  # but is pulled down from above
    (+1.0, 1.1, False),
    (-1.0, 0.9, False),
])  # fmt: skip
def test_the_clip_binds_on_the_side_that_runs_away(advantage, ratio, bound):
    logprobs, t = one_term(ratio, advantage)
    value = policy_loss(logprobs, t, GrpoConfig())
    value.loss.backward()
    assert float(logprobs.grad) == pytest.approx(0.0 if bound else -advantage * ratio)
    assert float(value.clipped) == float(bound)
    assert float(value.ratio) == pytest.approx(ratio)


def test_the_clip_s_two_sides_are_set_apart():
    def loss(ratio, advantage, **clips):
        return float(policy_loss(*one_term(ratio, advantage), GrpoConfig(**clips)).loss.detach())

    assert loss(1.3, 1.0, clip_high=0.4) == pytest.approx(-1.3)
    assert loss(1.3, 1.0, clip_high=0.25) == pytest.approx(-1.25)
    assert loss(0.6, -1.0, clip_low=0.3) == pytest.approx(0.7)


@pytest.mark.parametrize("loss", Loss)
def test_at_the_first_step_the_ratio_is_one_and_the_gradient_is_not_zero(loss):
    t = terms(0)
    logprobs = t.old.clone().requires_grad_(True)
    same = replace(t, sampled=t.old, reference=t.old)
    value = policy_loss(logprobs, same, GrpoConfig(objective=loss, kl_coef=0.5))
    value.loss.backward()
    assert torch.equal(value.ratio, torch.ones(N, dtype=torch.float64))
    assert float(value.kl) == float(value.clipped) == 0
    if loss is not Loss.GSPO:  # there a token's gradient is its rollout's mean
        torch.testing.assert_close(logprobs.grad, -t.weight * t.advantage)
    assert float(logprobs.grad.norm()) > 0


def test_importance_weights_correct_for_the_sampler_and_are_truncated():
    logprobs, t = one_term(1.0, 1.0)
    for sampled, expected in ((math.log(0.5), 2.0), (math.log(0.1), 3.0), (math.log(2.0 / 3), 1.5)):
        there = replace(t, sampled=torch.tensor([sampled], dtype=torch.float64))
        for cap, gain in ((3.0, expected), (0.0, 1.0)):
            value = policy_loss(logprobs.detach(), there, GrpoConfig(importance_cap=cap))
            assert float(value.loss) == pytest.approx(-gain)


@given(st.integers(0, 10), objectives)
def test_splitting_a_step_between_rollouts_adds_up(seed, objective):
    t = terms(seed)
    logprobs = t.old + 0.1
    whole = policy_loss(logprobs, t, objective)
    parts = []
    for s in (slice(0, 3), slice(3, 6)):
        chosen = torch.zeros(N, dtype=torch.bool)
        chosen[s] = True
        part = t.where(chosen)
        part = replace(part, rollout=part.rollout - part.rollout.min())
        parts.append(policy_loss(logprobs[s], part, objective))
    for name in ("loss", "kl", "clipped"):
        torch.testing.assert_close(sum(getattr(p, name) for p in parts), getattr(whole, name))


def test_cispo_of_the_docs_is_the_paper_s_equation():
    """MiniMax-M1, arXiv 2506.13585, equation 4: sg(clip(r)) A log pi, token by token, with the KL term beside it."""
    cispo, by_token = documented("cispo"), documented("by_token")
    objective = GrpoConfig(objective=(cispo, by_token), kl_coef=0.3, clip_low=0.2, clip_high=0.3)
    t = terms(3)
    logprobs = (t.old + torch.linspace(-0.6, 0.6, N, dtype=torch.float64)).requires_grad_(True)
    value = policy_loss(logprobs, t, objective)
    value.loss.backward()
    expected, gradient, clipped = 0.0, [], 0
    for i in range(N):
        lp, a, w = float(logprobs[i].detach()), float(t.advantage[i]), float(t.weight[i])
        ratio = math.exp(lp - float(t.old[i]))
        held = min(max(ratio, 0.8), 1.3)
        d = float(t.reference[i]) - lp
        expected += w * (0.3 * (math.exp(d) - d - 1) - held * a * lp)
        gradient.append(w * (0.3 * (1 - math.exp(d)) - held * a))
        clipped += held != ratio
    assert float(value.loss.detach()) == pytest.approx(expected)
    assert logprobs.grad.tolist() == pytest.approx(gradient)
    assert float(value.clipped) == clipped > 0
    assert by_token(StepCounts(tokens=3, rollouts=2, step_tokens=8)) == 1 / 8


def test_the_kl_is_that_of_the_policy_s_own_terms_and_a_loss_function_sees_which_they_are():
    seen = []

    def watching(logprobs, t):
        seen.append(t.off_policy.tolist())
        return LossValue(torch.zeros((), dtype=torch.float64), logprobs, torch.zeros(()))

    off_policy = torch.tensor([False, False, False, True, True, False])
    t = terms(1, off_policy=off_policy)
    value = policy_loss(t.old, t, GrpoConfig(objective=(watching, lambda counts: 1.0), kl_coef=0.5))
    assert seen == [off_policy.tolist()]
    estimate = kl_estimate(t.old, t.reference, Kl.K3) * ~off_policy
    assert float(value.kl) == pytest.approx(float(estimate.sum()))
    assert float(value.loss) == pytest.approx(0.5 * float((t.weight * estimate).sum()))
