"""Optimizers of the adapter and how their learning rate moves.

=================  ===========================================================  ==============================
optimizer          states a parameter                                           from
=================  ===========================================================  ==============================
adamw              two of 32 bits (Loshchilov and Hutter, arXiv 1711.05101)     torch
adamw-8bit         two of 8 bits, block by block (arXiv 2110.02861)             bitsandbytes
paged-adamw-8bit   the same, in memory that a GPU pages out (2305.14314)        bitsandbytes
paged-adamw-32bit  two of 32 bits, likewise                                     bitsandbytes
lion               one of 32 bits (Chen et al., arXiv 2302.06675)               bitsandbytes
lion-8bit          one of 8 bits                                                bitsandbytes
=================  ===========================================================  ==============================

All of them run on a CPU too; there is nothing to page there, which is said once. Tensors of fewer than 4096 numbers
keep 32-bit states. The learning rate is a function of the step alone, so a resumed run goes on with the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from homeground.training.config import Optimizer, OptimizerConfig, Schedule


class OptimizerWarning(UserWarning):
    """An optimizer is not all that was asked for on this device."""


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Learning rate of an optimizer step, counted from 0, in a run of ``steps``."""
    warmup = config.warmup_steps or math.ceil(config.warmup_share * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule is Schedule.CONSTANT:
        return config.learning_rate
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    left = 1 - done if config.schedule is Schedule.LINEAR else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * left


def build_optimizer(
    parameters: Sequence[nn.Parameter], config: OptimizerConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Build the configured optimizer over the float32 adapter.

    Warns:
        OptimizerWarning: a paged optimizer is configured, but this device does not support paging.
    """
    rate, decay = config.learning_rate, config.weight_decay
    kind = chosen(config.optimizer, device)
    if kind is Optimizer.ADAMW:
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, foreach=True)
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit, PagedAdamW32bit
    from bitsandbytes.optim.lion import Lion8bit, Lion32bit

    makers: dict[Optimizer, Any] = {
        Optimizer.ADAMW_8BIT: AdamW8bit,
        Optimizer.PAGED_ADAMW_8BIT: PagedAdamW8bit,
        Optimizer.PAGED_ADAMW_32BIT: PagedAdamW32bit,
        Optimizer.LION: Lion32bit,
        Optimizer.LION_8BIT: Lion8bit,
    }
    with warnings.catch_warnings():
        if kind.startswith("paged") and device.type != "cuda":
            warnings.warn(
                f"{kind}: there is nothing to page on {device.type}; the states stay in memory, as "
                f"{kind.removeprefix('paged-')}'s",
                OptimizerWarning,
                stacklevel=2,
            )
            # It says so too, without the optimizer's name.
            warnings.filterwarnings("ignore", message="Paged optimizers are not supported")
        return makers[kind](parameters, lr=rate, weight_decay=decay)


def chosen(kind: Optimizer, device: torch.device) -> Optimizer:
    """What ``auto`` means on a device: paged 8-bit states on CUDA (Dettmers et al. 2023, arXiv 2305.14314)."""
    if kind is not Optimizer.AUTO:
        return kind
    return Optimizer.PAGED_ADAMW_8BIT if device.type == "cuda" else Optimizer.ADAMW
