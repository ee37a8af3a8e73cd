"""How long a training step takes here: one and two layers of random numbers, timed."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from homeground.policy.base_model import dtype_of
from homeground.policy.config import ModelConfig
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.logprobs import forest_logprobs
from homeground.policy.unloaded import first_layers, give_shapes, outline


def seconds_of(
    config: PretrainedConfig, settings: ModelConfig, paths: Sequence[TokenPath], device: str
) -> tuple[float, float]:
    """Seconds of a forward pass alone and of a forward with a backward pass over one forest, all layers.

    A model of one layer and one of two run on this machine; a layer's time is their difference.
    """
    forest = TokenForest.build(paths).to(torch.device(device))
    one, two = (
        _timed(first_layers(config, n), settings, forest, device) for n in (1, min(2, config.num_hidden_layers))
    )
    layers: int = config.num_hidden_layers
    forward, both = (a + (layers - 1) * max(0.0, b - a) for a, b in zip(one, two, strict=True))
    return forward, both


def _timed(config: PretrainedConfig, settings: ModelConfig, forest: TokenForest, device: str) -> tuple[float, float]:
    peft, dtype = outline(config, settings), dtype_of(settings.compute_dtype)
    with torch.device(device):
        give_shapes(peft, settings)
    _fill(peft)
    model = peft.get_base_model()
    assert isinstance(model, PreTrainedModel)
    best = [float("inf"), float("inf")]
    for turn in range(3):
        began = perf_counter()
        with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            scores = forest_logprobs(model, forest)
        _wait(scores)
        middle = perf_counter()
        scores.sum().backward()
        _wait(scores)
        if turn:
            best = [min(best[0], middle - began), min(best[1], perf_counter() - began)]
    return best[0], best[1]


def _wait(scores: torch.Tensor) -> None:
    scores.detach().sum().item()


def _fill(model: nn.Module) -> None:
    """Numbers of a size that a model has: products of denormal ones would be many times slower."""
    generator = torch.Generator().manual_seed(0)
    for tensor in [*model.parameters(), *model.buffers()]:
        held: Any = tensor
        if tensor.is_floating_point():
            flat = torch.empty(min(tensor.numel(), 1 << 16)).normal_(std=0.02, generator=generator)
            repeats = -(-tensor.numel() // len(flat)) if len(flat) else 0
            tensor.data.copy_(flat.repeat(repeats)[: tensor.numel()].view(tensor.shape))
        else:
            tensor.data.fill_(0x5A)
        if (state := getattr(held, "quant_state", None)) is not None:
            _fill_state(state)
        if (largest := getattr(held, "SCB", None)) is not None:
            largest.fill_(0.02)


def _fill_state(state: Any) -> None:
    from bitsandbytes.functional import create_dynamic_map, get_4bit_type

    state.code.copy_(get_4bit_type(state.quant_type, device="cpu"))
    state.absmax.fill_(1 if state.nested else 0.02)
    if state.nested:
        state.offset.fill_(0.02)
        state.state2.absmax.fill_(0.02)
        state.state2.code.copy_(create_dynamic_map())
