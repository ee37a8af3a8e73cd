"""Policy-gradient objectives on the terms of a token forest: GRPO, Dr. GRPO, DAPO, GSPO, or one of your own.

Per sampled token, with ratio r = pi / pi_old and advantage A of its rollout::

    weight * (beta * KL - rho * min(r A, clip(r, 1 - low, 1 + high) A))

An objective is a loss function and a normaliser, which gives a token's weight:

===========  =================  =========================  ==========================================
name         loss function      ratio r                    weight of a token
===========  =================  =========================  ==========================================
``grpo``     clipped_tokens     of the token               1 / (tokens of its rollout * rollouts)
``dr_grpo``  clipped_tokens     of the token               1 / (longest allowed response * rollouts)
``dapo``     clipped_tokens     of the token               1 / tokens of the step
``gspo``     clipped_sequences  geometric mean over the    1 / (tokens of its rollout * rollouts)
                                rollout
===========  =================  =========================  ==========================================

GRPO: Shao et al. 2024, arXiv 2402.03300, equation 3. Dr. GRPO: Liu et al. 2025, arXiv 2503.20783, section 3.2. DAPO: Yu
et al. 2025, arXiv 2503.14476, equation 8. GSPO: Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7. A rollout's
tokens are those of all its turns. ``rho`` is truncated importance sampling, ``min(pi_old / pi_sampler, cap)``, for a
sampler whose numbers differ from the trainer's; 1 when it is off.

A loss function sees all rollouts of the step; those that the policy did not just sample are marked, and the functions
above treat them as any other. The KL term is the same for all loss functions, over the policy's own tokens (it
estimates an expectation over them).

Weights are fixed when a step is put together, from the whole step's counts, so any split of the step into forests
gives the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from homeground.base.errors import UsageError
from homeground.training.config import GrpoConfig, Kl, Loss


@dataclass(frozen=True)
class LossTerms:
    """Input of a loss function besides the policy's log-probabilities; tensors have one entry a term, (M,).

    Attributes:
        old: log-probability under the policy that the step began with.
        sampled: the sampler's log-probability.
        reference: log-probability under the adapter that RL started from; None when nothing asks for it.
        advantage: of the term's rollout.
        weight: share of the step's mean.
        rollout: index of the term's rollout, int64, from 0.
        off_policy: True for terms of off-policy rollouts, bool; ``sampled`` is then the log-probability for their
            author.
        clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high].
        importance_cap: largest weight of truncated importance sampling; 0 switches it off.
    """

    old: Tensor
    sampled: Tensor
    reference: Tensor | None
    advantage: Tensor
    weight: Tensor
    rollout: Tensor
    off_policy: Tensor
    clip_low: float = 0.2
    clip_high: float = 0.2
    importance_cap: float = 0.0

    def where(self, chosen: Tensor) -> LossTerms:
        """The terms for which ``chosen``, (M,) bool, is true."""
        return replace(
            self,
            old=self.old[chosen],
            sampled=self.sampled[chosen],
            reference=None if self.reference is None else self.reference[chosen],
            advantage=self.advantage[chosen],
            weight=self.weight[chosen],
            rollout=self.rollout[chosen],
            off_policy=self.off_policy[chosen],
        )


@dataclass(frozen=True)
class LossValue:
    """A loss and what to log about it.

    Attributes:
        loss: scalar, differentiable; sums over the forests of a step.
        ratio: pi / pi_old of each term (of its rollout in GSPO), (M,), detached.
        clipped: how many terms have a ratio that was clipped, scalar, detached.
        kl: sum of the KL estimate (k3) over the terms, scalar, detached; 0 without a reference. :func:`policy_loss`
            fills it in.
    """

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    kl: Tensor = field(default_factory=lambda: torch.zeros(()))


@dataclass(frozen=True)
class StepCounts:
    """Counts from which a normaliser makes the weight of each token of a rollout.

    Attributes:
        tokens: sampled tokens of the rollout.
        rollouts: of the whole step, those that the loss leaves out not counted.
        step_tokens: sampled tokens of these.
        max_tokens: longest response allowed; None if there is no limit.
    """

    tokens: int
    rollouts: int
    step_tokens: int
    max_tokens: int | None = None


type LossFunction = Callable[[Tensor, LossTerms], LossValue]
"""Computes the loss from the policy's log-probabilities, (M,), differentiable, and the terms aligned with them."""
type Normaliser = Callable[[StepCounts], float]
"""Computes the weight of each token of a rollout."""


def kl_estimate(logprobs: Tensor, reference: Tensor, kind: Kl) -> Tensor:
    """An estimate of KL(policy || reference) at each sampled token (Schulman 2020, "Approximating KL divergence").

    Args:
        logprobs, reference: natural log-probabilities of sampled tokens, same shape.
        kind: with d = reference - policy: k1 is -d, k2 is d^2 / 2, k3 is exp(d) - d - 1 (GRPO's equation 4).

    Returns:
        Nats, of that shape; exactly 0 where the two agree. k2 and k3 are never negative.
    """
    difference = reference - logprobs
    if kind is Kl.K1:
        return -difference
    squared = difference.square() / 2
    if kind is Kl.K2:
        return squared
    exact = torch.expm1(difference) - difference
    return exact if kind is Kl.K3 else squared + (exact - squared).detach()


def clipped_tokens(logprobs: Tensor, terms: LossTerms) -> LossValue:
    """PPO's clipped surrogate with the ratio of each token (GRPO's equation 3, without its KL term)."""
    return _clipped(logprobs - terms.old, terms.old - terms.sampled, terms)


def clipped_sequences(logprobs: Tensor, terms: LossTerms) -> LossValue:
    """The same with the geometric mean of the ratios of each rollout (GSPO, equations 5 to 7)."""
    log_ratio, trust = logprobs - terms.old, terms.old - terms.sampled
    return _clipped(_rollout_mean(log_ratio, terms.rollout), _rollout_mean(trust, terms.rollout), terms)


def _clipped(log_ratio: Tensor, trust: Tensor, terms: LossTerms) -> LossValue:
    ratio = torch.exp(log_ratio)
    bounded = ratio.clamp(1 - terms.clip_low, 1 + terms.clip_high)
    gain = torch.minimum(ratio * terms.advantage, bounded * terms.advantage)
    if terms.importance_cap:
        gain = gain * torch.exp(trust).clamp(max=terms.importance_cap).detach()
    clipped = (bounded * terms.advantage < ratio * terms.advantage).sum()
    return LossValue(-(terms.weight * gain).sum(), ratio.detach(), clipped)


def by_rollout(counts: StepCounts) -> float:
    """A mean over rollouts of means over their tokens."""
    return 1 / (counts.tokens * counts.rollouts)


def by_longest_response(counts: StepCounts) -> float:
    """A mean over rollouts of sums divided by one constant."""
    assert counts.max_tokens
    return 1 / (counts.max_tokens * counts.rollouts)


def by_token(counts: StepCounts) -> float:
    """A mean over all tokens of the step."""
    return 1 / counts.step_tokens


OBJECTIVES: dict[str, tuple[LossFunction, Normaliser]] = {
    Loss.GRPO: (clipped_tokens, by_rollout),
    Loss.DR_GRPO: (clipped_tokens, by_longest_response),
    Loss.DAPO: (clipped_tokens, by_token),
    Loss.GSPO: (clipped_sequences, by_rollout),
}


def objective_of(config: GrpoConfig) -> tuple[LossFunction, Normaliser]:
    """Return the loss function and normaliser that a configuration names or contains."""
    return OBJECTIVES[config.objective] if isinstance(config.objective, Loss) else config.objective


def policy_loss(logprobs: Tensor, terms: LossTerms, config: GrpoConfig) -> LossValue:
    """The objective over one forest of a step, with the KL term; a rollout's terms must all be in it.

    Args:
        logprobs: of the policy being trained, (M,), differentiable.
        terms: aligned with it.
        config: names the loss and its constants.
    """
    terms = replace(terms, clip_low=config.clip_low, clip_high=config.clip_high, importance_cap=config.importance_cap)
    value = cast("object", objective_of(config)[0](logprobs, terms))
    if not isinstance(value, LossValue):
        raise UsageError(
            f"the objective's loss function returned a {type(value).__name__}, not a LossValue",
            where="GrpoConfig.objective",
            hint="return LossValue(loss=..., ...)",
        )
    if terms.reference is None:
        return value
    own = ~terms.off_policy
    logprobs, reference = logprobs[own], terms.reference[own]
    kl = kl_estimate(logprobs.detach(), reference, Kl.K3).sum()
    loss = value.loss
    if config.kl_coef and config.kl is not Kl.K1:
        loss = loss + config.kl_coef * (terms.weight[own] * kl_estimate(logprobs, reference, config.kl)).sum()
    return replace(value, loss=loss, kl=kl)


def _rollout_mean(values: Tensor, rollout: Tensor) -> Tensor:
    """Mean over each rollout's terms, given back to every one of them."""
    count = int(rollout.max()) + 1 if len(rollout) else 0
    totals = torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rollout, values)
    return (totals / torch.bincount(rollout, minlength=count).clamp(min=1))[rollout]
