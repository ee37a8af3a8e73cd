"""The recipe's `sft` section: supervised fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from homeground.base.recipe.section import OptimizerKind, Section


class SftSection(Section):
    """The cold start on scripted examples."""

    examples: int = Field(default=64, ge=1, description="trajectories to learn from")
    epochs: int = Field(default=1, ge=1, description="passes over them")
    batch_size: int = Field(default=8, ge=1, description="conversations in one optimizer step")
    learning_rate: float = Field(default=5e-4, gt=0, description="the highest learning rate")
    optimizer: OptimizerKind = Field(default="auto", description="auto: paged-adamw-8bit on CUDA, adamw elsewhere")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="of the learning rate after the warm-up: linear and cosine go down to zero"
    )
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    warmup_steps: int = Field(default=0, ge=0, description="optimizer steps of linear warm-up")
    warmup_share: float = Field(
        default=0.0, ge=0, lt=1, description="the same as a share of the run's steps; counts when warmup_steps is 0"
    )
    neftune_alpha: float = Field(
        default=0.0, ge=0, description="noise on embeddings in training (2310.05914), 5 to 15 is usual; 0 is none"
    )
    train_on: Literal["every answer", "last answer"] = Field(
        default="every answer", description="which of a conversation's assistant messages are trained"
    )
    overlong: Literal["drop", "cut-end", "cut-start", "split"] = Field(
        default="drop", description="what becomes of an example that is longer than the model's context"
    )
    forest_tokens: int = Field(default=1024, ge=1, description="distinct tokens of one forward")
    checkpoint_every: int = Field(default=4, ge=1, description="optimizer steps between checkpoints")
    devices: int = Field(
        default=1, ge=1, description="processes that share each optimizer step's examples, and the machine's cores"
    )
    eval_every: int = Field(
        default=0, ge=0, description="optimizer steps between evaluations on held-out examples; 0 is once an epoch"
    )
    patience: int = Field(
        default=0, ge=0, description="evaluations without a lower held-out loss that end the training; 0 never does"
    )
    samples: int = Field(default=2, ge=0, description="held-out prompts that are answered at each evaluation")
    sample_tokens: int = Field(default=48, ge=1, description="longest of these answers, tokens")
    probe: bool = Field(
        default=True, description="score texts and questions of general knowledge before and after: what is forgotten"
    )
    probe_tasks: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="tasks of lm-evaluation-harness scored with the probe, eval.tasks samples of each: names, or paths "
        "of YAML files or of folders; needs the extra lm-eval",
    )
