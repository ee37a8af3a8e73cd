"""The GRPO objective (Shao et al. 2024, arXiv 2402.03300, equation 3) on the terms of a token forest.

Per sampled token, with ratio r = pi / pi_old and advantage A of its rollout::

    - min(r A, clip(r, 1 - low, 1 + high) A) + beta * KL

A rollout's tokens are averaged over the rollout (all of its turns together), rollouts over the optimizer step. The
weight of a token, ``1 / (tokens of its rollout * rollouts of the step)``, is fixed when the step is put together, so
any split of the step into forests gives the same gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossTerms:
    """What the loss needs besides the policy's log-probabilities, one entry a term, each of shape (M,).

    Attributes:
        old: log-probability under the policy that the step began with.
        reference: log-probability under the adapter that RL started from.
        advantage: of the term's rollout.
        weight: share of the step's mean; the weights of a whole step add up to 1.
    """

    old: Tensor
    reference: Tensor
    advantage: Tensor
    weight: Tensor


@dataclass(frozen=True)
class LossValue:
    """A loss and what to log about it.

    Attributes:
        loss: scalar, differentiable; sums over the forests of a step.
        kl: weighted mean of the KL estimate, scalar, detached.
        clip_share: weighted share of terms whose ratio was clipped, scalar, detached.
        ratio: pi / pi_old of each term, (M,), detached.
    """

    loss: Tensor
    kl: Tensor
    clip_share: Tensor
    ratio: Tensor


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """The paper's KL estimate (equation 4), differentiated as written: ``exp(d) - d - 1`` with d = ref - policy.

    Args:
        logprobs, reference: natural log-probabilities of sampled tokens, same shape.

    Returns:
        Non-negative values of that shape, exactly 0 where the two agree.
    """
    difference = reference - logprobs
    return torch.expm1(difference) - difference


def grpo_loss(
    logprobs: Tensor, terms: LossTerms, *, clip_low: float = 0.2, clip_high: float = 0.2, kl_coef: float = 0.0
) -> LossValue:
    """Equation 3 of the paper over one forest of a step.

    Args:
        logprobs: of the policy being trained, (M,), differentiable.
        terms: aligned with it.
        clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high].
        kl_coef: beta.
    """
    ratio = torch.exp(logprobs - terms.old)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    gain = torch.minimum(ratio * terms.advantage, clipped * terms.advantage)
    kl = kl_k3(logprobs, terms.reference)
    loss = (terms.weight * (kl_coef * kl - gain)).sum()
    binding = clipped * terms.advantage < ratio * terms.advantage
    return LossValue(
        loss,
        (terms.weight * kl).sum().detach(),
        (terms.weight * binding).sum().detach(),
        ratio.detach(),
    )
