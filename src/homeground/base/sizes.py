"""Sizes of devices as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.hardware import best_device, free_memory_mb

SMALL_CARD_MB, USUAL_CARD_MB, LARGE_CARD_MB = 10_000, 20_000, 40_000
_TFLOPS = ((SMALL_CARD_MB, 20.0), (USUAL_CARD_MB, 40.0), (LARGE_CARD_MB, 70.0))
_DATA_CENTRE_TFLOPS = 300.0


@dataclass(frozen=True)
class Target:
    """What a plan is made for.

    Attributes:
        name: as it is printed.
        memory_mb: that a run may take, MB (10^6 bytes).
        cuda: a card; else the memory is this machine's.
        here: it is this machine, and can be measured.
    """

    name: str
    memory_mb: float
    cuda: bool
    here: bool

    @property
    def assumed_tflops(self) -> float:
        """bf16 matrix products of a card of this size, where it cannot be measured: a cautious round figure."""
        return next((rate for below, rate in _TFLOPS if self.memory_mb < below), _DATA_CENTRE_TFLOPS)


def target(device: str) -> Target:
    """The device that `device` names: `auto`, `cpu`, `cuda`, or a card's memory such as `8GB`.

    A card's GB are taken as 10^9 bytes: about what a card of that name leaves beside its driver and a screen.

    Raises:
        UsageError: it names no device.
        HomegroundError: CUDA is asked for and absent.
    """
    name = device.strip().lower()
    if name == "auto":
        name = "cuda" if best_device() == "cuda" else "cpu"
    if name in ("cpu", "mps"):
        import psutil

        # What this process holds already is part of what the run will hold.
        held = psutil.Process().memory_info().rss / 1e6
        return Target("this machine's memory", round(free_memory_mb() + held), cuda=False, here=True)
    if name == "cuda":
        return _card_here()
    if size := re.fullmatch(r"(\d+(?:\.\d+)?)\s*gi?b?", name):
        return Target(f"a card of {size[1]} GB", float(size[1]) * 1000, cuda=True, here=False)
    raise UsageError(
        f"unknown device '{device}'",
        where="--device",
        hint="give a card's memory such as 8GB or 24GB, or cuda or cpu for what this machine has",
    )


def _card_here() -> Target:
    import torch

    if not torch.cuda.is_available():
        raise HomegroundError(
            "there is no CUDA device here to plan for",
            where="--device cuda",
            hint="name the card's memory instead, such as --device 8GB",
        )
    seen = torch.cuda.get_device_properties(0)
    return Target(seen.name, round(seen.total_memory / 1e6), cuda=True, here=True)
