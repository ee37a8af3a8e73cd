"""Training loops over the token forest: supervised fine-tuning and GRPO."""

from homeground.training.advantages import Scale, group_advantages
from homeground.training.grpo import GrpoSettings, train_grpo_steps
from homeground.training.losses import LossTerms, grpo_loss, kl_k3
from homeground.training.sft import SftSettings, train_sft

__all__ = [
    "GrpoSettings",
    "LossTerms",
    "Scale",
    "SftSettings",
    "group_advantages",
    "grpo_loss",
    "kl_k3",
    "train_grpo_steps",
    "train_sft",
]
