"""A cache whose state can be forked: what a model remembers after a segment, shared by all that continue it.

transformers' layers keep keys and values, convolution states and recurrent states. Their own classes are made to
decode: linear-attention states are copied into a fixed buffer, so a second continuation would find the first one's
state there, and gradients through the old content would be lost. :class:`ForkedCache` reads the state it was given
and writes to another: forward passes that continue the same segment share tensors, nothing is written in place, and
autograd adds up what all of them send back into the prefix. A forward that is repeated by gradient checkpointing reads
and computes the same again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig
from transformers.cache_utils import (
    Cache,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

Layer = Any
"""One of transformers' cache layers; it has no types of its own."""

_ATTENTION = (DynamicLayer, DynamicSlidingWindowLayer)
_LINEAR = (LinearAttentionLayer,)
_BOTH = (LinearAttentionAndFullAttentionLayer, LinearAttentionAndSlidingWindowAttentionLayer)


def blank_state(config: PretrainedConfig) -> list[Layer]:
    """What a model remembers before its first token, one entry a layer.

    Raises:
        NotImplementedError: a layer remembers something that we do not know how to fork.
    """
    layers: list[Layer] = DynamicCache(config=config).layers
    for layer in layers:
        if type(layer) not in (*_ATTENTION, *_LINEAR, *_BOTH, DummyLayer):
            raise NotImplementedError(f"{type(layer).__name__}: this kind of state cannot be forked")
    return layers


def repeated(state: Sequence[Layer], rows: int) -> list[Layer]:
    """The state of one row as the state of ``rows`` equal rows; tensors are shared, not copied."""
    return [_mapped(layer, lambda t: t.expand(rows, *t.shape[1:])) for layer in state]


def of_row(state: Sequence[Layer], row: int) -> list[Layer]:
    """The state of one row of a batch."""
    return [_mapped(layer, lambda t: t[row : row + 1]) for layer in state]


class ForkedCache(Cache):
    """What one forward reads and writes.

    Args:
        before: the state that the forward continues; never written to.
    """

    def __init__(self, before: list[Layer]) -> None:
        super().__init__(layers=before)
        self._after: dict[int, Layer] | None = {}

    def close(self) -> list[Layer]:
        """The state after the forward. What a repeated forward writes later is dropped.

        Raises:
            RuntimeError: the model ran without this cache, so its tokens never saw their prefix.
        """
        assert self._after is not None
        after, self._after = self._after, None
        expected = {i for i, layer in enumerate(self.layers) if not isinstance(layer, DummyLayer)}
        if missing := expected - after.keys():
            raise RuntimeError(f"the model does not hand its cache to {len(missing)} of its {len(expected)} layers")
        return [after.get(i, layer) for i, layer in enumerate(self.layers)]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values that these queries may see."""
        layer = _mapped(self.layers[layer_idx], lambda t: t)
        seen = layer.update(key_states, value_states, *args, **kwargs)
        names = ("keys", "values", "is_initialized", "dtype", "device", "cumulative_length")
        self._write(layer_idx, {name: vars(layer)[name] for name in names if name in vars(layer)})
        return seen

    def update_conv_state(
        self,
        conv_states: Tensor,
        layer_idx: int,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **_: Any,
    ) -> Tensor:
        """The inputs of a causal convolution, those of before in front; shape (rows, channels, at least the kernel)."""
        before = self.get_conv_state(layer_idx, state_idx)
        seen = conv_states if before is None else torch.cat([before, conv_states], -1)
        width = conv_kernel_size or (conv_states if before is None else before).shape[-1]
        if (short := width - seen.shape[-1]) > 0:
            seen = functional.pad(seen, (short, 0))
        self._write(
            layer_idx, {"conv_states": {state_idx: seen[..., -width:]}, "has_previous_state": {state_idx: True}}
        )
        return seen

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any) -> Tensor:
        """Keep the state after these tokens."""
        found = {"recurrent_states": {state_idx: recurrent_states}, "has_previous_state": {state_idx: True}}
        self._write(layer_idx, found)
        return recurrent_states

    def _write(self, layer_idx: int, found: dict[str, Any]) -> None:
        if self._after is None:
            return
        if layer_idx not in self._after:
            self._after[layer_idx] = _mapped(self.layers[layer_idx], lambda t: t)
        layer = self._after[layer_idx]
        for name, value in found.items():
            if isinstance(value, dict):
                getattr(layer, name).update(value)
            else:
                setattr(layer, name, value)


def _mapped(layer: Layer, change: Callable[[Tensor], Tensor]) -> Layer:
    """A copy of a layer's bookkeeping with its states changed."""
    other = copy.copy(layer)
    if isinstance(layer, _LINEAR):
        other.has_previous_state = dict(layer.has_previous_state)
        for name in ("conv_states", "recurrent_states"):
            states = getattr(layer, name)
            setattr(other, name, {i: None if t is None else change(t) for i, t in states.items()})
    for name in ("keys", "values"):
        if isinstance(held := getattr(layer, name, None), Tensor):
            setattr(other, name, change(held))
    return other
