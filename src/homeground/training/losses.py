"""Policy-gradient objectives on the terms of a token forest: GRPO, Dr. GRPO, DAPO, GSPO.

Per sampled token, with ratio r = pi / pi_old and advantage A of its rollout::

    weight * (beta * KL - rho * min(r A, clip(r, 1 - low, 1 + high) A))

==========  =========================================  ==========================================
loss        ratio r                                    weight of a token
==========  =========================================  ==========================================
``grpo``    of the token                               1 / (tokens of its rollout * rollouts)
``dr_grpo`` of the token                               1 / (longest allowed response * rollouts)
``dapo``    of the token                               1 / tokens of the step
``gspo``    geometric mean over the rollout            1 / (tokens of its rollout * rollouts)
==========  =========================================  ==========================================

GRPO: Shao et al. 2024, arXiv 2402.03300, equation 3. Dr. GRPO: Liu et al. 2025, arXiv 2503.20783, section 3.2. DAPO: Yu
et al. 2025, arXiv 2503.14476, equation 8. GSPO: Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7. A rollout's
tokens are those of all its turns. ``rho`` is truncated importance sampling, ``min(pi_old / pi_sampler, cap)``, for a
sampler whose numbers differ from the trainer's; 1 when it is off.

Rollouts that the policy did not just sample have a term of their own, see :mod:`homeground.training.off_policy`.

Weights are fixed when a step is put together, from the whole step's counts, so any split of the step into forests
gives the same gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from homeground.training.off_policy import shaped_ratio


class Loss(StrEnum):
    """Which objective."""

    GRPO = "grpo"
    DR_GRPO = "dr_grpo"
    DAPO = "dapo"
    GSPO = "gspo"


class Kl(StrEnum):
    """How the divergence from the reference is estimated, and through what it acts.

    K3 is the paper's expression, differentiated as written. K3_ST has its value and the gradient of K2, which is the
    gradient of the divergence itself when tokens are sampled from the policy. K1 has no useful gradient as a loss: it
    is subtracted from the reward.
    """

    K1 = "k1"
    K2 = "k2"
    K3 = "k3"
    K3_ST = "k3_st"


@dataclass(frozen=True)
class Objective:
    """A loss and its constants.

    Attributes:
        loss: see the module's table.
        kl: estimator; without meaning when ``kl_coef`` is 0.
        kl_coef: beta.
        clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high]; DAPO's clip-higher is 0.2 and 0.28,
            GSPO's ratios want 3e-4 and 4e-4.
        importance_cap: largest weight of truncated importance sampling; 0 switches it off.
        max_tokens: longest response allowed, what Dr. GRPO divides by.
    """

    loss: Loss = Loss.GRPO
    kl: Kl = Kl.K3
    kl_coef: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    importance_cap: float = 0.0
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.loss is Loss.DR_GRPO and not self.max_tokens:
            raise ValueError("dr_grpo divides by the longest response allowed: give max_tokens")

    def weight(self, tokens: int, rollouts_of_step: int, tokens_of_step: int) -> float:
        """Weight of each token of a rollout with ``tokens`` sampled tokens; see the module's table."""
        match self.loss:
            case Loss.GRPO | Loss.GSPO:
                return 1 / (tokens * rollouts_of_step)
            case Loss.DAPO:
                return 1 / tokens_of_step
            case Loss.DR_GRPO:
                assert self.max_tokens
                return 1 / (self.max_tokens * rollouts_of_step)


@dataclass(frozen=True)
class LossTerms:
    """What the loss needs besides the policy's log-probabilities, one entry a term, each of shape (M,).

    Attributes:
        old: log-probability under the policy that the step began with.
        sampled: the sampler's log-probability.
        reference: log-probability under the adapter that RL started from; None when nothing asks for it.
        advantage: of the term's rollout.
        weight: share of the step's mean.
        rollout: index of the term's rollout, int64, 0 to R - 1.
        gamma: of the policy shaping, above 0 where somebody else wrote the rollout (``sampled`` is then that writer's
            log-probability) and 0 elsewhere; None when the policy sampled all of them.
    """

    old: Tensor
    sampled: Tensor
    reference: Tensor | None
    advantage: Tensor
    weight: Tensor
    rollout: Tensor
    gamma: Tensor | None = None


@dataclass(frozen=True)
class LossValue:
    """A loss and what to log about it.

    Attributes:
        loss: scalar, differentiable; sums over the forests of a step.
        kl: sum of the KL estimate (k3) over the policy's own terms, scalar, detached; 0 without a reference.
        clipped: how many of them have a ratio that was clipped, scalar, detached.
        ratio: pi / pi_old of each term (of its rollout in GSPO), (M,), detached.
    """

    loss: Tensor
    kl: Tensor
    clipped: Tensor
    ratio: Tensor


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


def policy_loss(logprobs: Tensor, terms: LossTerms, objective: Objective) -> LossValue:
    """The objective over one forest of a step; a rollout's terms must all be in it.

    Args:
        logprobs: of the policy being trained, (M,), differentiable.
        terms: aligned with it.
        objective: which loss.
    """
    log_ratio = logprobs - terms.old
    trust = terms.old - terms.sampled
    if objective.loss is Loss.GSPO:
        log_ratio, trust = _rollout_mean(log_ratio, terms.rollout), _rollout_mean(trust, terms.rollout)
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    gain = torch.minimum(ratio * terms.advantage, clipped * terms.advantage)
    binding = clipped * terms.advantage < ratio * terms.advantage
    if objective.importance_cap:
        gain = gain * torch.exp(trust).clamp(max=objective.importance_cap).detach()
    own = torch.ones_like(binding)
    if terms.gamma is not None:
        own = terms.gamma == 0
        shaped = shaped_ratio(logprobs, terms.sampled, terms.gamma.where(~own, 1.0))
        gain = torch.where(own, gain, shaped * terms.advantage)
    loss = -(terms.weight * gain).sum()
    kl = torch.zeros((), device=logprobs.device)
    if terms.reference is not None:
        kl = kl_estimate(logprobs.detach(), terms.reference, Kl.K3)[own].sum()
        if objective.kl_coef and objective.kl is not Kl.K1:
            estimate = kl_estimate(logprobs, terms.reference, objective.kl)
            loss = loss + objective.kl_coef * (terms.weight * estimate)[own].sum()
    return LossValue(loss, kl, (binding & own).sum(), ratio.detach())


def _rollout_mean(values: Tensor, rollout: Tensor) -> Tensor:
    """Mean over each rollout's terms, given back to every one of them."""
    count = int(rollout.max()) + 1
    totals = torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rollout, values)
    return (totals / torch.bincount(rollout, minlength=count).clamp(min=1))[rollout]
