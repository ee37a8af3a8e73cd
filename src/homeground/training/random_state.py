"""The state of every random generator that training or a reward may draw from, as a checkpoint keeps it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """States of torch, CUDA, Python and numpy, in types that load without unpickling anything foreign."""
    kind, key, position, has_gauss, gauss = np.random.get_state()
    assert not isinstance(key, int | float)
    return {
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "rng_python": random.getstate(),
        "rng_numpy": (str(kind), [int(word) for word in key], int(position), int(has_gauss), float(gauss)),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on from what :func:`random_state` gave; states of cards that are not here are left out."""
    torch.set_rng_state(state["rng"])
    for card, held in enumerate(state["rng_cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(held, card)
    random.setstate(state["rng_python"])
    np.random.set_state(state["rng_numpy"])
