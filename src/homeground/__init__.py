"""Homeground: train a small local model on your own code and docs, and measure every gain.

The names below load what they need when they are first used, so that ``import homeground`` and the command start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from homeground.index import Index
    from homeground.pipeline.supervised import SftRun, train_sft
    from homeground.policy import LoraSettings, Policy
    from homeground.training import GrpoRun, train_dpo, train_grpo

__version__ = "0.1.0"

__all__ = ["GrpoRun", "Index", "LoraSettings", "Policy", "SftRun", "train_dpo", "train_grpo", "train_sft"]

_ROOMS = {
    "GrpoRun": "training",
    "Index": "index",
    "LoraSettings": "policy",
    "Policy": "policy",
    "SftRun": "pipeline.supervised",
    "train_dpo": "training",
    "train_grpo": "training",
    "train_sft": "pipeline.supervised",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'homeground' has no attribute {name!r}")
    return getattr(import_module(f"homeground.{_ROOMS[name]}"), name)
