"""The recipe's `rl` section: GRPO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from homeground.base.recipe.section import OptimizerKind, Section


class CurriculumSection(Section):
    """Tasks whose groups never or always succeed come less often."""

    rate: float = Field(
        default=1.0, gt=0, le=1, description="chance of a task after each group without signal in a row; 1 is off"
    )
    floor: float = Field(default=0.1, gt=0, le=1, description="smallest chance")


class LuffySection(Section):
    """Expert traces join the groups (LUFFY, arXiv 2504.14945)."""

    traces: str | None = Field(
        default=None, description="JSON lines of {task, messages, reward}, or 'scripted'; null mixes nothing in"
    )
    per_group: int = Field(default=1, ge=1, description="traces that join a group at most")
    gamma: float = Field(default=0.1, gt=0, description="of the policy shaping r / (r + gamma)")


class ExgrpoSection(Section):
    """Past successes of the policy join the groups (ExGRPO, arXiv 2510.02245)."""

    share: float = Field(default=0.0, ge=0, le=1, description="of a step's tasks, chosen by past successes; 0 is off")
    gamma: float = Field(default=0.1, gt=0, description="of the policy shaping r / (r + gamma)")
    start: float = Field(default=0.35, ge=0, le=1, description="share of successes in a step from which on it replays")
    success: float = Field(default=1.0, description="smallest reward of a success")


class RlSection(Section):
    """Reinforcement learning with group-relative advantages."""

    steps: int = Field(default=25, ge=1, description="optimizer steps")
    tasks_per_step: int = Field(default=4, ge=1, description="tasks rolled out for one step")
    group_size: int = Field(default=4, ge=2, description="rollouts of each task, compared with each other")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of rollouts")
    learning_rate: float = Field(default=1e-4, gt=0)
    optimizer: OptimizerKind = Field(default="auto", description="auto: paged-adamw-8bit on CUDA, adamw elsewhere")
    loss: Literal["grpo", "dr_grpo", "dapo", "gspo"] = Field(
        default="grpo", description="grpo (2402.03300), dr_grpo (2503.20783), dapo (2503.14476) or gspo (2507.18071)"
    )
    scale: Literal["std", "none"] = Field(default="std", description="what a centred reward is divided by")
    kl: Literal["k1", "k2", "k3", "k3_st"] = Field(
        default="k3", description="estimator of the KL divergence to the adapter RL started from; k1 acts on the reward"
    )
    kl_coef: float = Field(default=0.01, ge=0, description="weight of the KL term; 0 computes no reference")
    clip_low: float = Field(default=0.2, gt=0, lt=1, description="ratios are clipped below 1 - clip_low")
    clip_high: float = Field(default=0.2, gt=0, description="ratios are clipped above 1 + clip_high")
    importance_cap: float = Field(
        default=0.0, ge=0, description="truncated importance sampling: largest weight of a token; 0 is off"
    )
    updates_per_step: int = Field(default=1, ge=1, description="optimizer steps on each batch of rollouts")
    overlong: Literal["keep", "filter", "soft"] = Field(
        default="keep", description="rollouts at the limit of tokens: keep, filter from the loss, or punish softly"
    )
    overlong_buffer: int = Field(default=8, ge=1, description="tokens before the limit that 'soft' punishes")
    dynamic_sampling: int = Field(
        default=0, ge=0, description="how often a step may roll out new tasks for groups without signal"
    )
    curriculum: CurriculumSection = CurriculumSection()
    luffy: LuffySection = LuffySection()
    exgrpo: ExgrpoSection = ExgrpoSection()
    asynchronous: bool = Field(
        default=False,
        description="sample the next step while this one updates; not on a CPU, and only with importance_cap above 0",
    )
    forest_tokens: int = Field(default=1024, ge=1, description="distinct tokens of one forward")
    checkpoint_every: int = Field(default=5, ge=1, description="optimizer steps between checkpoints")
    keep_rollouts_mb: float = Field(
        default=64,
        gt=0,
        description="rollouts that are kept for `homeground rollouts`; beyond it steps are thinned out",
    )
    max_query_tokens: int = Field(default=24, ge=1, description="longest first turn, in tokens")
    max_answer_tokens: int = Field(default=8, ge=1, description="longest second turn, in tokens")
    timeout_s: float = Field(default=120.0, gt=0, description="seconds after which a rollout counts as failed")
    failure_reward: float | None = Field(
        default=None, description="reward of rollouts that timed out or crashed; null leaves them out of their group"
    )

    @model_validator(mode="after")
    def _corrected(self) -> RlSection:
        if self.asynchronous and not self.importance_cap:
            raise ValueError("asynchronous rollouts are one step off-policy: set importance_cap above 0, such as 2.0")
        return self
