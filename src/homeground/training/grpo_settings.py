"""The settings of a GRPO run."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeground.training.advantages import Overlong, Scale
from homeground.training.losses import Objective
from homeground.training.optimizers import OptimizerSettings
from homeground.training.task_stream import Curriculum


@dataclass(frozen=True)
class GrpoSettings:
    """One run of GRPO.

    Attributes:
        steps: batches of rollouts.
        tasks_per_step, group_size: P and G.
        optimizer: learning rate and the like.
        objective: the loss, its KL and clips.
        temperature: of the rollouts; the trainer divides logits by it too.
        scale: of the advantages.
        updates_per_step: optimizer steps on each batch of rollouts (mu in the paper).
        overlong, overlong_buffer: what becomes of rollouts at the limit; SOFT needs ``objective.max_tokens``.
        dynamic_sampling: how many more times at most a step rolls out new tasks in place of groups whose rewards are
            all equal (DAPO, arXiv 2503.14476, section 3.2); 0 trains on what came.
        curriculum: how much less often tasks without signal come again.
        checkpoint_every: steps.
        forest_tokens: distinct tokens of one forward at most; a larger group is one forest by itself.
        seed: of the order of tasks.
    """

    steps: int
    tasks_per_step: int
    group_size: int
    optimizer: OptimizerSettings
    objective: Objective = field(default_factory=lambda: Objective(kl_coef=0.01))
    temperature: float = 1.0
    scale: Scale = Scale.STD
    updates_per_step: int = 1
    overlong: Overlong = Overlong.KEEP
    overlong_buffer: int = 16
    dynamic_sampling: int = 0
    curriculum: Curriculum = field(default_factory=lambda: Curriculum())
    checkpoint_every: int = 5
    forest_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.overlong is Overlong.SOFT and not self.objective.max_tokens:
            raise ValueError("overlong='soft' measures against the longest response allowed: give max_tokens")
