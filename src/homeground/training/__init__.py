"""Training loops over the token forest: supervised fine-tuning, preferences, and GRPO with its kin."""

from homeground.training.advantages import GroupRewards, Overlong, Scale, group_advantages, overlong_penalty
from homeground.training.experience import Replay
from homeground.training.grpo import train_grpo_steps
from homeground.training.grpo_settings import GrpoSettings
from homeground.training.losses import (
    OBJECTIVES,
    Kl,
    Loss,
    LossTerms,
    LossValue,
    Objective,
    StepCounts,
    kl_estimate,
    policy_loss,
)
from homeground.training.off_policy import Experts, ExpertTrace, Luffy, load_traces
from homeground.training.optimizers import OptimizerSettings
from homeground.training.preference import DpoSettings, PreferencePair, train_dpo
from homeground.training.run import GrpoRun, train_grpo
from homeground.training.sft import SftSettings, train_sft
from homeground.training.task_stream import Curriculum

__all__ = [
    "OBJECTIVES",
    "Curriculum",
    "DpoSettings",
    "ExpertTrace",
    "Experts",
    "GroupRewards",
    "GrpoRun",
    "GrpoSettings",
    "Kl",
    "Loss",
    "LossTerms",
    "LossValue",
    "Luffy",
    "Objective",
    "OptimizerSettings",
    "Overlong",
    "PreferencePair",
    "Replay",
    "Scale",
    "SftSettings",
    "StepCounts",
    "group_advantages",
    "kl_estimate",
    "load_traces",
    "overlong_penalty",
    "policy_loss",
    "train_dpo",
    "train_grpo",
    "train_grpo_steps",
    "train_sft",
]
