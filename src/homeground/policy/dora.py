"""DoRA (Liu et al. 2024, arXiv 2402.09353): the length of each row of an adapted weight, learned apart from it.

The weight is ``m ∘ (W + s B A) / |W + s B A|``, row by row; as in the paper's section 4.3, and in PEFT, no gradient
goes through the length in the denominator. That length is not computed from the sum, which is as large as W, but from

    |w + s b A|^2 = |w|^2 + 2 s (w A') b' + s^2 b (A A') b'

of a row w of W and b of B: W A' is rank numbers a row, and ``|w|^2`` is known once and for all. All of it in float32,
where PEFT computes in the model's type.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn

from homeground.policy.quantize import dequantized


def is_dora(layer: LoraLayer) -> bool:
    """Whether a layer's only adapter learns lengths."""
    return len(layer.lora_A) == 1 and [type(v) for v in layer.lora_variant.values()] == [DoraLinearVariant]


def lengthening(layer: Any, a: Tensor, b: Tensor, base: nn.Module, scale: float) -> Tensor:
    """What each row of ``W + s B A`` is multiplied with, (out,), float32; its gradient is the magnitudes'.

    Args:
        layer: of PEFT, over ``base``.
        a, b: (r, in), (out, r).
        base: the frozen layer.
        scale: s.
    """
    (magnitude,) = layer.lora_magnitude_vector.values()
    with torch.no_grad(), torch.autocast(a.device.type, enabled=False):
        weight = dequantized(base)
        squares = layer.__dict__.get("row_squares")
        if squares is None:
            squares = layer.__dict__["row_squares"] = weight.float().square().sum(1)
        a, b = a.float(), b.float()
        crossed = (weight @ a.to(weight.dtype).t()).float()
        length = (squares + 2 * scale * (crossed * b).sum(1) + scale**2 * ((b @ (a @ a.t())) * b).sum(1)).sqrt()
    return magnitude.weight.float() / length


def begin_at_length(layer: Any) -> None:
    """Let a fresh adapter's magnitudes be the lengths of the frozen rows: it changes nothing yet."""
    (magnitude,) = layer.lora_magnitude_vector.values()
    magnitude.weight.data = dequantized(layer.get_base_layer()).float().square().sum(1).sqrt()
