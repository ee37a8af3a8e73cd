"""Group-relative advantages (GRPO, Shao et al. 2024, arXiv 2402.03300, section 4.1.2).

A *group* is the G rollouts of one task. Each rollout's advantage is its reward measured against its siblings; every
turn and token of a rollout shares that advantage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from homeground.base.errors import UsageError
from homeground.rollouts.trajectory import NO_SIGNAL, TrajectoryGroup
from homeground.training.config import Scale


@dataclass(frozen=True)
class GroupRewards:
    """Rewards of a step: P tasks, G rollouts of each at most, K parts.

    Attributes:
        rewards_PG: the whole reward, after the penalties that the settings ask for; 0 where no rollout is.
        present_PG: False where a rollout failed, or the group is smaller.
        parts_PGK: the named parts as the agent or the reward function gave them; 0 where a rollout has not that part.
        names: of the K parts, sorted.
    """

    rewards_PG: Tensor
    present_PG: Tensor
    parts_PGK: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, groups: Sequence[TrajectoryGroup], rewards_PG: Tensor) -> Self:
        """Groups with their rewards after penalties."""
        names = tuple(sorted({name for group in groups for t in group.trainable for name in t.parts}))
        parts = [torch.tensor([[t.parts.get(n, 0.0) for n in names] for t in g.trajectories]) for g in groups]
        present_PG = table([group.present_G for group in groups])
        parts_PGK = table(parts) if names else torch.zeros(*present_PG.shape, 0)
        return cls(rewards_PG.float(), present_PG, parts_PGK * present_PG[..., None], names)


def table(rows: Sequence[Tensor]) -> Tensor:
    """Rows of up to G values, (G, ...), as one tensor (P, G, ...), 0 where a row is shorter; G is at least 2."""
    padded = pad_sequence(list(rows), batch_first=True)
    return pad(padded, [0, 0] * (padded.dim() - 2) + [0, max(0, 2 - padded.shape[1])])


type AdvantageFunction = Callable[[GroupRewards], Tensor]
"""Returns advantages, shape (P, G); values at absent rollouts are ignored."""


def advantages_of(groups: GroupRewards, advantage: Scale | AdvantageFunction) -> Tensor:
    """Compute advantages, shape (P, G), by a named scale or a function.

    Raises:
        UsageError: a function's result is no tensor, has another shape, or is not finite where a rollout is.
    """
    if isinstance(advantage, Scale):
        return group_advantages(groups.rewards_PG, advantage, groups.present_PG)
    advantages = cast("object", advantage(groups))
    wanted = tuple(groups.rewards_PG.shape)
    if not isinstance(advantages, Tensor):
        raise _wrong_advantages(f"a {type(advantages).__name__}", wanted)
    if advantages.shape != groups.rewards_PG.shape:
        raise _wrong_advantages(f"shape {tuple(advantages.shape)}", wanted)
    advantages = torch.where(groups.present_PG, advantages, 0.0).to(groups.rewards_PG.dtype)
    if not torch.isfinite(advantages).all():
        raise _wrong_advantages("numbers that are not finite", wanted)
    return advantages


def _wrong_advantages(got: str, wanted: tuple[int, ...]) -> UsageError:
    return UsageError(
        f"the advantage function returned {got}",
        where="GrpoConfig.advantage",
        hint=f"return a tensor of finite numbers of shape (P tasks, G rollouts), here {wanted}",
    )


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
