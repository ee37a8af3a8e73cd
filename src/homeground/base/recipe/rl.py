"""The recipe's `rl` section: GRPO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from homeground.base.recipe.section import Section


class RlSection(Section):
    """Reinforcement learning with group-relative advantages (GRPO, arXiv 2402.03300)."""

    steps: int = Field(default=25, ge=1, description="optimizer steps")
    tasks_per_step: int = Field(default=4, ge=1, description="tasks rolled out for one step")
    group_size: int = Field(default=4, ge=2, description="rollouts of each task, compared with each other")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of rollouts")
    learning_rate: float = Field(default=1e-4, gt=0)
    loss: Literal["grpo"] = Field(default="grpo", description="the policy loss")
    kl: Literal["k3"] = Field(default="k3", description="estimator of the KL divergence to the adapter RL started from")
    kl_coef: float = Field(default=0.01, ge=0, description="weight of the KL term")
    clip_low: float = Field(default=0.2, gt=0, lt=1, description="ratios are clipped below 1 - clip_low")
    clip_high: float = Field(default=0.2, gt=0, description="ratios are clipped above 1 + clip_high")
    checkpoint_every: int = Field(default=5, ge=1, description="optimizer steps between checkpoints")
    max_query_tokens: int = Field(default=24, ge=1, description="longest first turn, in tokens")
    max_answer_tokens: int = Field(default=8, ge=1, description="longest second turn, in tokens")
    timeout_s: float = Field(default=120.0, gt=0, description="seconds after which a rollout counts as failed")
