"""Whether the sampler's own cache can hold a model's keys and values, found out by one forward of one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.policy import attention
from homeground.policy.attention import Scoring
from homeground.policy.logprobs import body
from homeground.policy.rope import longest_path

ATTENTION_LAYERS = {"full_attention", "sliding_attention"}
# Their frequencies change when a forward holds a position beyond the length that the model was first trained at.
STRETCHING_ROPES = {"dynamic", "longrope"}


@dataclass(frozen=True)
class HeadShape:
    """What one token costs in every layer's cache.

    Attributes:
        layers, kv_heads: how many.
        key_size, value_size: of a head.
        dtype, device: of the tensors.
    """

    layers: int
    kv_heads: int
    key_size: int
    value_size: int
    dtype: torch.dtype
    device: torch.device


class _Probe:
    """A layout for one token, which attends itself; notes what the layers bring."""

    def __init__(self) -> None:
        self.seen: dict[int, HeadShape] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        del scoring
        self.seen[layer] = HeadShape(1, key.shape[1], key.shape[3], value.shape[3], key.dtype, key.device)
        return value.repeat_interleave(query.shape[1] // key.shape[1], 1)


def head_shape(shell: PreTrainedModel) -> HeadShape | str:
    """Sizes for the sampler's cache, or why this model cannot use it.

    Args:
        shell: a sampler's.
    """
    if shell.config._attn_implementation != attention.IMPLEMENTATION:  # pyright: ignore[reportPrivateUsage]
        return "its attention takes no layout"
    config: Any = shell.config.get_text_config()
    kinds: set[str] = set(getattr(config, "layer_types", None) or ())
    if other := sorted(kinds - ATTENTION_LAYERS):
        return f"it has layers of kind {', '.join(other)}"
    probe = _Probe()
    token = torch.zeros(1, 1, dtype=torch.long, device=shell.device)
    try:
        with torch.no_grad():
            body(shell)(input_ids=token, position_ids=token, use_cache=False, forest=probe)
    except RuntimeError as error:
        if "'forest' keyword" not in str(error):
            raise
        return str(error)
    if sorted(probe.seen) != list(range(config.num_hidden_layers)):
        return f"only {len(probe.seen)} of its {config.num_hidden_layers} layers attend through the common interface"
    shape, *others = set(probe.seen.values())
    if others:
        return "its layers have keys of different sizes"
    return HeadShape(len(probe.seen), shape.kv_heads, shape.key_size, shape.value_size, shape.dtype, shape.device)


def context_of(model: PreTrainedModel) -> int:
    """The longest path that is sampled: the model's context, or less where its rotary frequencies would change."""
    config: Any = model.config.get_text_config()
    limit = longest_path(config)
    ropes: Any = getattr(config, "rope_parameters", None) or {}
    for rope in [ropes, *(r for r in ropes.values() if isinstance(r, dict))]:
        if rope.get("rope_type") in STRETCHING_ROPES:
            first = rope.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            limit = min(limit, first or limit)
    return limit
