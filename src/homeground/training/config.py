"""Training settings, one class for each kind of training. The recipe's sections extend them; no torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, Strict, model_validator

from homeground.base.config import Config


class Optimizer(StrEnum):
    """Optimizers of :mod:`homeground.training.optimizers`; ``auto`` is paged-adamw-8bit on CUDA and adamw elsewhere."""

    AUTO = "auto"
    ADAMW = "adamw"
    ADAMW_8BIT = "adamw-8bit"
    PAGED_ADAMW_8BIT = "paged-adamw-8bit"
    PAGED_ADAMW_32BIT = "paged-adamw-32bit"
    LION = "lion"
    LION_8BIT = "lion-8bit"

    @property
    def state_bytes(self) -> int:
        """Bytes of optimizer state for one parameter; ``auto`` must be resolved first."""
        return (1 if self in (Optimizer.LION, Optimizer.LION_8BIT) else 2) * (1 if self.endswith("8bit") else 4)


class Schedule(StrEnum):
    """The learning rate after the warm-up: constant, or down to zero at the run's end."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Loss(StrEnum):
    """Built-in objectives, see :mod:`homeground.training.losses`."""

    GRPO = "grpo"
    DR_GRPO = "dr_grpo"
    DAPO = "dapo"
    GSPO = "gspo"


class Kl(StrEnum):
    """Estimators of the divergence from the reference, and how each enters the objective.

    K3 is the paper's expression, differentiated as written. K3_ST has its value and the gradient of K2, which is the
    gradient of the divergence itself when tokens are sampled from the policy. K1 has no useful gradient as a loss: it
    is subtracted from the reward.
    """

    K1 = "k1"
    K2 = "k2"
    K3 = "k3"
    K3_ST = "k3_st"


class Scale(StrEnum):
    """Divisor of a centred reward."""

    STD = "std"
    NONE = "none"


class Overlong(StrEnum):
    """Treatment of a rollout that hit the limit of tokens (DAPO, arXiv 2503.14476, section 3.4).

    KEEP changes nothing. FILTER leaves its tokens out of the loss; its reward still counts in its group. SOFT lowers
    the reward of long rollouts, see :func:`homeground.training.advantages.overlong_penalty`.
    """

    KEEP = "keep"
    FILTER = "filter"
    SOFT = "soft"


LAX = Strict(False)
"""Accept an enum's member, or its value as text."""
type Function = Callable[..., Any]


class OptimizerConfig(Config):
    """Settings of the optimizer that updates the adapter."""

    learning_rate: float = Field(default=1e-4, gt=0, description="peak learning rate")
    optimizer: Annotated[Optimizer, LAX] = Field(
        default=Optimizer.AUTO, description="auto: paged-adamw-8bit on CUDA, adamw elsewhere"
    )
    schedule: Annotated[Schedule, LAX] = Field(
        default=Schedule.CONSTANT,
        description="learning rate after the warm-up; linear and cosine decay to zero",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay (AdamW)")
    clip: float = Field(default=1.0, gt=0, description="gradient norm above which gradients are clipped")
    warmup_steps: int = Field(default=0, ge=0, description="number of optimizer steps of linear warm-up")
    warmup_share: float = Field(
        default=0.0, ge=0, lt=1, description="linear warm-up as a share of the run's steps, if warmup_steps is 0"
    )


class SftConfig(OptimizerConfig):
    """Supervised fine-tuning."""

    learning_rate: float = Field(default=5e-4, gt=0, description="peak learning rate")
    epochs: int = Field(default=1, ge=1, description="passes over the examples")
    batch_size: int = Field(default=8, ge=1, description="conversations in one optimizer step")
    neftune_alpha: float = Field(
        default=0.0, ge=0, description="NEFTune noise on embeddings (arXiv 2310.05914); 5 to 15 is usual, 0 adds none"
    )
    train_on: Literal["every answer", "last answer"] = Field(
        default="every answer", description="assistant messages of a conversation that are trained on"
    )
    overlong: Literal["drop", "cut-end", "cut-start", "split"] = Field(
        default="drop", description="treatment of an example that is longer than the model's context"
    )
    forest_tokens: int = Field(default=1024, ge=1, description="largest number of distinct tokens in one forward pass")
    checkpoint_every: int = Field(default=4, ge=1, description="optimizer steps between checkpoints")
    devices: int = Field(
        default=1,
        ge=1,
        description="number of processes that share each optimizer step's examples and the machine's cores",
    )
    eval_every: int = Field(
        default=0,
        ge=0,
        description="optimizer steps between evaluations on held-out examples; 0 evaluates once an epoch",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="evaluations without a lower held-out loss after which training stops; 0 never stops early",
    )
    samples: int = Field(default=2, ge=0, description="number of held-out prompts that are answered at each evaluation")
    sample_tokens: int = Field(default=48, ge=1, description="longest of these answers, in tokens")


class DpoConfig(OptimizerConfig):
    """Direct preference optimization."""

    epochs: int = Field(default=1, ge=1, description="passes over the pairs")
    batch_size: int = Field(default=8, ge=1, description="pairs in one optimizer step")
    beta: float = Field(default=0.1, gt=0, description="strength of the pull towards the reference model")
    forest_tokens: int = Field(default=1024, ge=1, description="largest number of distinct tokens in one forward pass")
    checkpoint_every: int = Field(default=5, ge=1, description="optimizer steps between checkpoints")


class RetrieverConfig(Config):
    """Training of a retriever: bi-encoder, cross-encoder or late-interaction model."""

    epochs: float = Field(default=1.0, gt=0, description="times that every question is seen")
    batch_size: int = Field(default=64, ge=2, description="questions in one optimizer step")
    learning_rate: float = Field(default=1e-4, gt=0, description="peak; warms up, then goes down to zero")


class CurriculumConfig(Config):
    """Curriculum: tasks whose groups never or always succeed are sampled less often."""

    rate: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="factor on a task's sampling probability for each consecutive group without signal; 1 is off",
    )
    floor: float = Field(default=0.1, gt=0, le=1, description="smallest sampling probability of a task")


class GrpoConfig(OptimizerConfig):
    """Reinforcement learning with group-relative advantages.

    ``objective`` also takes a loss function and a normaliser (:mod:`homeground.training.losses`), ``advantage`` a
    function of :class:`~homeground.training.advantages.GroupRewards`.
    """

    steps: int = Field(default=25, ge=1, description="number of steps, each on one batch of rollouts")
    tasks_per_step: int = Field(default=4, ge=1, description="number of tasks in one step")
    group_size: int = Field(
        default=4, ge=2, description="rollouts of each task, whose rewards are compared with each other"
    )
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of rollouts")
    objective: Annotated[Loss, LAX] | tuple[Function, Function] = Field(
        default=Loss.GRPO,
        validation_alias=AliasChoices("objective", "loss"),
        description="grpo (2402.03300), dr_grpo (2503.20783), dapo (2503.14476) or gspo (2507.18071)",
    )
    advantage: Annotated[Scale, LAX] | Function = Field(
        default=Scale.STD,
        validation_alias=AliasChoices("advantage", "scale"),
        description="divisor of a centred reward: std, the standard deviation of the group, or none",
    )
    kl: Annotated[Kl, LAX] = Field(
        default=Kl.K3,
        description="estimator of the KL divergence to the adapter that RL started from; k1 acts on the reward",
    )
    kl_coef: float = Field(default=0.01, ge=0, description="weight of the KL term; 0 leaves out the reference model")
    clip_low: float = Field(default=0.2, gt=0, description="importance ratios are clipped below 1 - clip_low")
    clip_high: float = Field(default=0.2, gt=0, description="importance ratios are clipped above 1 + clip_high")
    importance_cap: float = Field(
        default=0.0, ge=0, description="largest weight of a token in truncated importance sampling; 0 is off"
    )
    updates_per_step: int = Field(default=1, ge=1, description="optimizer steps on each batch of rollouts")
    overlong: Annotated[Overlong, LAX] = Field(
        default=Overlong.KEEP,
        description="rollouts at the token limit: keep them, filter them from the loss, or lower their reward (soft)",
    )
    overlong_buffer: int = Field(
        default=8, ge=1, description="tokens before the limit in which overlong: soft lowers the reward"
    )
    dynamic_sampling: int = Field(
        default=0, ge=0, description="times that a step may sample new tasks in place of groups without signal"
    )
    curriculum: CurriculumConfig = CurriculumConfig()
    asynchronous: bool = Field(
        default=False,
        description="sample the next step while this one updates; not on a CPU, and only with importance_cap above 0",
    )
    forest_tokens: int = Field(default=1024, ge=1, description="largest number of distinct tokens in one forward pass")
    checkpoint_every: int = Field(default=5, ge=1, description="batches of rollouts between checkpoints")
    keep_rollouts_mb: float = Field(
        default=64,
        gt=0,
        description="rollouts that are kept for `homeground rollouts`; beyond it steps are thinned out",
    )

    @model_validator(mode="after")
    def _corrected(self) -> Self:
        if self.asynchronous and not self.importance_cap:
            raise ValueError("asynchronous rollouts are one step off-policy: set importance_cap above 0, such as 2.0")
        return self
