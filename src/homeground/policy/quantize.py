"""QLoRA's base: NF4 weights with double quantization (Dettmers et al. 2023, arXiv 2305.14314, section 3).

On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a 4-bit weight in place at the first forward without
gradients, and training through it afterwards gets no gradient and no error. :func:`keep_trainable` turns that
off for every 4-bit layer; a shell that only samples may use :func:`dequantized` weights instead, which are the
same numbers and on a CPU about twice as fast at the batch sizes of sampling.
"""

from __future__ import annotations

import logging
from enum import StrEnum

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig


class Quantization(StrEnum):
    """How the frozen base weights are stored."""

    NF4 = "nf4"
    NONE = "none"


def quantization_config(kind: Quantization, dtype: torch.dtype, *, double_quant: bool) -> BitsAndBytesConfig | None:
    """What transformers needs to load a model this way; None for plain weights."""
    if kind is Quantization.NONE:
        return None
    # bitsandbytes announces an optional kernel that it did not find on a hub; nothing is missing.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind.value,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def four_bit_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The 4-bit layers of a model by name."""
    from bitsandbytes.nn.modules import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def keep_trainable(model: nn.Module) -> None:
    """Forbid bitsandbytes to repack weights that training differentiates through."""
    for layer in four_bit_layers(model).values():
        layer.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def dequantized(layer: nn.Module) -> Tensor:
    """The weight that a 4-bit or plain linear layer computes with, (out, in), in its compute dtype."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, state)


def frozen(layer: nn.Module, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
    """Weight (out, in) and bias (out,) that a linear layer computes with, detached, in one type (its own if None)."""
    weight = dequantized(layer).detach().to(dtype)
    bias = getattr(layer, "bias", None)
    return weight, bias.detach().to(weight.dtype) if isinstance(bias, Tensor) else None
