"""Optimizers of the adapter and how their learning rate moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW on the adapter.

    Attributes:
        learning_rate: constant after the warm-up.
        weight_decay: decoupled.
        clip: largest gradient norm (L2) of a step.
        warmup_steps: of linear warm-up.
    """

    learning_rate: float
    weight_decay: float = 0.0
    clip: float = 1.0
    warmup_steps: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of an optimizer step, counted from 0."""
        share = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.learning_rate * share


def build_optimizer(
    parameters: Sequence[nn.Parameter], settings: OptimizerSettings, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW over the float32 adapter: QLoRA's paged 8-bit states on CUDA, plain ones elsewhere."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if pages_optimizer(device):
        from bitsandbytes.optim.adamw import PagedAdamW8bit

        return PagedAdamW8bit(parameters, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, foreach=True)


def pages_optimizer(device: torch.device) -> bool:
    """Whether optimizer states are 8-bit and paged (Dettmers et al. 2023, arXiv 2305.14314, section 3)."""
    return device.type == "cuda"
