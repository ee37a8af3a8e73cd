"""Rotary embeddings that depend on the longest position of a forward.

Two kinds change every token's rotation once a row outgrows a limit: ``longrope`` switches to other frequencies,
``dynamic`` scales them with the row's length. Rows of one forward share their rotation, so rows of different regimes
must not share a forward: a forest that straddles the limit is computed as one forest a regime.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel


def regime(config: PretrainedConfig, length: int) -> int:
    """Rows of equal regime rotate alike whatever their lengths; 0 is the regime of all short rows.

    Args:
        config: the model's.
        length: tokens of the row.
    """
    for parameters in _rotations(config):
        kind = parameters.get("rope_type", "default")
        if kind == "longrope" and length > parameters["original_max_position_embeddings"]:
            return 1
        if "dynamic" in kind and length > config.max_position_embeddings:
            return length
    return 0


def longest_path(config: PretrainedConfig) -> int:
    """Longest path, in tokens, that the model's positions support; 2^30 if its configuration has no limit (ALiBi)."""
    text: Any = config.get_text_config(decoder=True)
    names = ("max_position_embeddings", "max_seq_len")
    return next((int(limit) for name in names if (limit := getattr(text, name, None))), 1 << 30)


def forget_longest_row(model: PreTrainedModel) -> None:
    """Undo what dynamic scaling keeps of the longest row it has seen, so that a row's rotation depends on itself."""
    if not any("dynamic" in p.get("rope_type", "default") for p in _rotations(model.config)):
        return
    for module in model.modules():
        if isinstance(getattr(module, "rope_type", None), str) and hasattr(module, "original_max_seq_len"):
            start = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            module(start.float(), start)


def _rotations(config: PretrainedConfig) -> list[dict[str, Any]]:
    """The model's rotations: one, or one a kind of layer."""
    parameters: dict[str, Any] = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    nested = [p for p in parameters.values() if isinstance(p, dict)]
    return nested or [parameters]
