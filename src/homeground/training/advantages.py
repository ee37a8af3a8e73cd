"""Group-relative advantages (GRPO, Shao et al. 2024, arXiv 2402.03300, section 4.1.2).

A *group* is the G rollouts of one task. Each rollout's advantage is its reward measured against its siblings; every
turn and token of a rollout shares that advantage.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

NO_SIGNAL = 1e-6


class Scale(StrEnum):
    """What a centred reward is divided by."""

    STD = "std"
    NONE = "none"


class Overlong(StrEnum):
    """What becomes of a rollout that hit the limit of tokens (DAPO, arXiv 2503.14476, section 3.4).

    KEEP changes nothing. FILTER leaves its tokens out of the loss; its reward still counts in its group. SOFT lowers
    the reward of long rollouts, see :func:`overlong_penalty`.
    """

    KEEP = "keep"
    FILTER = "filter"
    SOFT = "soft"


def group_advantages(rewards_PG: Tensor, scale: Scale = Scale.STD, present_PG: Tensor | None = None) -> Tensor:
    """Reward of each rollout relative to its group.

    Args:
        rewards_PG: rewards, shape (P tasks, G rollouts), any unit.
        scale: STD divides by the group's population standard deviation (the paper); NONE only centres (Dr. GRPO,
            arXiv 2503.20783).
        present_PG: False where a rollout failed; it takes no part in its group and gets 0.

    Returns:
        Advantages, shape (P, G), dimensionless. A group whose rewards are all equal gets exactly zero: it carries no
        signal and never a NaN.

    Raises:
        ValueError: G < 2; one rollout has nothing to be compared with.
    """
    if rewards_PG.shape[1] < 2:
        raise ValueError("a group needs at least 2 rollouts: one has nothing to be compared with")
    present = torch.ones_like(rewards_PG, dtype=torch.bool) if present_PG is None else present_PG
    rewards = torch.where(present, rewards_PG, 0.0).double()
    count = present.sum(1, keepdim=True).clamp(min=1)
    centred = torch.where(present, rewards - rewards.sum(1, keepdim=True) / count, 0.0)
    std = (centred.square().sum(1, keepdim=True) / count).sqrt()
    signal = std > NO_SIGNAL
    if scale is Scale.STD:
        centred = centred / torch.where(signal, std, 1.0)
    return torch.where(signal, centred, 0.0).to(rewards_PG.dtype)


def overlong_penalty(tokens: int, limit: int, buffer: int) -> float:
    """What a long rollout's reward loses (DAPO, arXiv 2503.14476, equation 13).

    Args:
        tokens: length of the response.
        limit: tokens at which generation is cut.
        buffer: the last so many tokens before the limit are punished, more with each one.

    Returns:
        0 up to ``limit - buffer`` tokens, then linearly down to -1 at the limit.
    """
    return max(-1.0, min(0.0, (limit - buffer - tokens) / buffer))
