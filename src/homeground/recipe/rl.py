"""The recipe's `rl` section: GRPO."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field

from homeground.training.config import LAX, GrpoConfig, Loss, Scale


class RlSection(GrpoConfig):
    """Reinforcement learning with group-relative advantages."""

    # A recipe can only give names, not functions.
    objective: Annotated[Loss, LAX] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=Loss.GRPO,
        validation_alias=AliasChoices("objective", "loss"),
        description="grpo (2402.03300), dr_grpo (2503.20783), dapo (2503.14476) or gspo (2507.18071)",
    )
    advantage: Annotated[Scale, LAX] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=Scale.STD,
        validation_alias=AliasChoices("advantage", "scale"),
        description="divisor of a centred reward: std, the standard deviation of the group, or none",
    )
    max_query_tokens: int = Field(default=24, ge=1, description="longest first turn of the look-up agent, in tokens")
    max_answer_tokens: int = Field(default=8, ge=1, description="longest second turn of the look-up agent, in tokens")
    timeout_s: float = Field(default=120.0, gt=0, description="time after which a rollout counts as failed, in seconds")
    failure_reward: float | None = Field(
        default=None, description="reward of rollouts that timed out or crashed; null leaves them out of their group"
    )
