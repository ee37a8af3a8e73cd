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
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import nn


class Optimizer(StrEnum):
    """See the module; ``auto`` is paged-adamw-8bit on CUDA and adamw elsewhere."""

    AUTO = "auto"
    ADAMW = "adamw"
    ADAMW_8BIT = "adamw-8bit"
    PAGED_ADAMW_8BIT = "paged-adamw-8bit"
    PAGED_ADAMW_32BIT = "paged-adamw-32bit"
    LION = "lion"
    LION_8BIT = "lion-8bit"

    @property
    def state_bytes(self) -> int:
        """Of a parameter's states; ``auto`` has to be resolved first (:func:`chosen`)."""
        return (1 if self in (Optimizer.LION, Optimizer.LION_8BIT) else 2) * (1 if self.endswith("8bit") else 4)


class Schedule(StrEnum):
    """How the learning rate goes on after the warm-up: down to zero at the run's end, or not."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class OptimizerWarning(UserWarning):
    """An optimizer is not all that was asked for on this device."""


@dataclass(frozen=True)
class OptimizerSettings:
    """How the adapter moves.

    Attributes:
        learning_rate: the highest.
        weight_decay: decoupled.
        clip: largest gradient norm (L2) of a step.
        warmup_steps: of linear warm-up.
        warmup_share: the same as a share of the run's steps; counts when ``warmup_steps`` is 0.
        kind: which optimizer.
        schedule: after the warm-up.
        steps: of the whole run; the training loop fills it in (:meth:`over`).
    """

    learning_rate: float
    weight_decay: float = 0.0
    clip: float = 1.0
    warmup_steps: int = 0
    warmup_share: float = 0.0
    kind: Optimizer | str = Optimizer.AUTO
    schedule: Schedule | str = Schedule.CONSTANT
    steps: int = 0

    def over(self, steps: int) -> OptimizerSettings:
        """The same for a run of so many optimizer steps."""
        return replace(self, steps=steps)

    def rate(self, step: int) -> float:
        """Learning rate of an optimizer step, counted from 0.

        Raises:
            ValueError: it depends on the number of steps, and that is not known.
        """
        schedule = Schedule(self.schedule)
        if not self.steps and (schedule is not Schedule.CONSTANT or (self.warmup_share and not self.warmup_steps)):
            raise ValueError("a learning rate that depends on the number of steps needs it: see over()")
        warmup = self.warmup_steps or math.ceil(self.warmup_share * self.steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if schedule is Schedule.CONSTANT:
            return self.learning_rate
        done = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        left = 1 - done if schedule is Schedule.LINEAR else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * left


def build_optimizer(
    parameters: Sequence[nn.Parameter], settings: OptimizerSettings, device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer of some settings over the float32 adapter.

    Warns:
        OptimizerWarning: it is to be paged, and this device pages nothing.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    kind = chosen(settings.kind, device)
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


def chosen(kind: Optimizer | str, device: torch.device) -> Optimizer:
    """What ``auto`` means on a device: paged 8-bit states on CUDA (Dettmers et al. 2023, arXiv 2305.14314)."""
    if Optimizer(kind) is not Optimizer.AUTO:
        return Optimizer(kind)
    return Optimizer.PAGED_ADAMW_8BIT if device.type == "cuda" else Optimizer.ADAMW
