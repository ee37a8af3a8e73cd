"""The settings of a GRPO run."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeground.base.errors import HomegroundError
from homeground.training.advantages import AdvantageFunction, Overlong, Scale
from homeground.training.experience import Replay
from homeground.training.losses import Objective
from homeground.training.off_policy import Luffy
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
        advantage: how rewards become advantages: a :class:`Scale`, or a function of :class:`GroupRewards`.
        updates_per_step: optimizer steps on each batch of rollouts (mu in the paper).
        overlong, overlong_buffer: what becomes of rollouts at the limit; SOFT needs ``objective.max_tokens``.
        dynamic_sampling: how many more times at most a step rolls out new tasks in place of groups whose rewards are
            all equal (DAPO, arXiv 2503.14476, section 3.2); 0 trains on what came.
        luffy: how experts' traces join the groups, where there are any.
        replay: how past successes join the groups.
        asynchronous: sample the next step's rollouts while this one's update computes; they are one step off-policy
            then, which ``objective.importance_cap`` corrects.
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
    advantage: Scale | AdvantageFunction = Scale.STD
    updates_per_step: int = 1
    overlong: Overlong = Overlong.KEEP
    overlong_buffer: int = 16
    dynamic_sampling: int = 0
    luffy: Luffy = field(default_factory=lambda: Luffy())
    replay: Replay = field(default_factory=lambda: Replay())
    asynchronous: bool = False
    curriculum: Curriculum = field(default_factory=lambda: Curriculum())
    checkpoint_every: int = 5
    forest_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.overlong is Overlong.SOFT and not self.objective.max_tokens:
            raise ValueError("overlong='soft' measures against the longest response allowed: give max_tokens")
        if self.asynchronous and not self.objective.importance_cap:
            raise ValueError("asynchronous rollouts are one step off-policy: give importance_cap, such as 2.0")

    def refuse_on(self, device: str) -> None:
        """Refuse a device that cannot do it.

        Raises:
            HomegroundError: asynchronous rollouts where sampler and trainer would share a CPU.
        """
        if self.asynchronous and device == "cpu":
            raise HomegroundError(
                "asynchronous rollouts want a device of their own: here sampler and trainer would share the CPU, and "
                "each would make the other many times slower",
                where="rl.asynchronous",
                hint="set it to false, or train on a GPU",
            )
