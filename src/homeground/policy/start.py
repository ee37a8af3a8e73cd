"""Where an adapter starts when it is not at zero, and how that is undone when it is saved.

======== ========================================================= ==============================================
init     A0, B0 (r, in), (out, r)                                  the base W becomes
======== ========================================================= ==============================================
default  A0 random, B0 = 0                                         W, packed: Q(W)
pissa    the r largest singular directions of W (2404.02948)       W - s B0 A0, packed: Q(W - s B0 A0)
loftq    those of W - Q(W): what packing lost (2310.08659), one    Q(W)
         round of the paper's alternation, as PEFT does it
======== ========================================================= ==============================================

A saved adapter belongs to the original W: its update is ``s (B A - B0 A0)``, which is an adapter of twice the rank
with ``A' = [A; A0]``, ``B' = [B, -B0]`` and the same scale. With a plain base W that is what was trained, to rounding.
With a packed one it is what was trained on W in place of its packed neighbour, as with any QLoRA adapter. Loaded here
again, the two halves are told apart and the base is moved as before, so that training goes on with the same numbers.

Worked example, r = 1 and s = 1: W = [[3, 0], [0, 1]] starts PiSSA from A0 = [sqrt 3, 0], B0 = [sqrt 3, 0]' over the
base [[0, 0], [0, 1]]. After training to A = [2, 0], B0 unchanged, the saved adapter adds sqrt 3 (2 - sqrt 3) at (0, 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from homeground.policy.config import Init
from homeground.policy.originals import Originals
from homeground.policy.quantize import dequantized, store
from homeground.policy.shells import lora_layers

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_POWER = 4
"""Power iterations of the randomised singular value decomposition (Halko et al. 2011, arXiv 0909.4061)."""


@dataclass(frozen=True)
class Start:
    """A0 and B0 of each adapted layer, float32 on the CPU."""

    init: Init
    factors: dict[str, tuple[Tensor, Tensor]]


def begin(peft: PeftModel, init: Init, originals: Originals) -> Start:
    """Give a fresh adapter its first values and move the base accordingly.

    Args:
        peft: a base as loaded with a fresh adapter of PEFT's.
        init: not the default.
        originals: the base's file.
    """
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for name, layer in _adapted(peft).items():
        base, (adapter,) = layer.get_base_layer(), layer.lora_A.keys()
        weight = originals.weight(name).to(base.weight.device).float()
        aim = weight if init is Init.PISSA else weight - dequantized(base).float()
        a, b = largest(aim, layer.r[adapter], layer.scaling[adapter])
        layer.lora_A[adapter].weight.data.copy_(a)
        layer.lora_B[adapter].weight.data.copy_(b)
        factors[name] = (a.cpu(), b.cpu())
    begun = Start(init, factors)
    move_base(peft, begun, originals)
    return begun


def largest(weight: Tensor, r: int, scale: float) -> tuple[Tensor, Tensor]:
    """A (r, in) and B (out, r) with ``scale B A`` the best approximation of a weight (out, in) by rank r."""
    short = min(weight.shape)
    u, s, v = torch.svd_lowrank(weight, q=min(2 * r + 8, short), niter=_POWER)
    root = (s[:r] / scale).sqrt()
    a, b = weight.new_zeros(r, weight.shape[1]), weight.new_zeros(weight.shape[0], r)
    # A layer may be narrower than the rank.
    a[: len(root)], b[:, : len(root)] = (v[:, :r] * root).t(), u[:, :r] * root
    return a, b


def move_base(peft: PeftModel, begun: Start, originals: Originals) -> None:
    """Take out of the base what the adapter started with."""
    if begun.init is not Init.PISSA:
        return
    for name, layer in _adapted(peft).items():
        base, (adapter,) = layer.get_base_layer(), layer.lora_A.keys()
        weight = originals.weight(name).to(base.weight.device).float()
        a, b = (factor.to(weight) for factor in begun.factors[name])
        store(base, weight.addmm_(b, a, alpha=-layer.scaling[adapter]))


def convert(folder: Path, begun: Start) -> None:
    """Make a saved adapter one of the original base: twice the rank, the same scale."""
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, (a, b) in begun.factors.items():
        key_a, key_b = f"{_PREFIX}{name}{_A}", f"{_PREFIX}{name}{_B}"
        tensors[key_a] = torch.cat([tensors[key_a], a])
        tensors[key_b] = torch.cat([tensors[key_b], -b], 1)
    save_file(tensors, file, metadata={"format": "pt"})
    config = LoraConfig.from_pretrained(str(folder))
    assert isinstance(config, LoraConfig)
    _resize(config, 2)
    config.save_pretrained(str(folder))


def split(folder: Path, init: Init, config: LoraConfig) -> tuple[dict[str, Tensor], Start]:
    """Invert :func:`convert`: return the adapter's tensors and its start.

    Args:
        config: settings of the folder's adapter; changed in place to those of the returned tensors.
    """
    _resize(config, 0.5)
    config.inference_mode = False
    tensors = load_file(folder / "adapter_model.safetensors")
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for key_a in [key for key in tensors if key.endswith(_A)]:
        name = key_a.removeprefix(_PREFIX).removesuffix(_A)
        key_b = f"{_PREFIX}{name}{_B}"
        (tensors[key_a], a0), (tensors[key_b], b0) = tensors[key_a].chunk(2), tensors[key_b].chunk(2, 1)
        factors[name] = (a0.clone(), -b0)
    return tensors, Start(init, factors)


def load(peft: PeftModel, tensors: dict[str, Tensor]) -> None:
    """Give an adapter its values, by PEFT's names."""
    set_peft_model_state_dict(peft, tensors)


def _resize(config: LoraConfig, factor: float) -> None:
    config.r = int(config.r * factor)
    config.lora_alpha = config.lora_alpha * (math.sqrt(factor) if config.use_rslora else factor)  # type: ignore[assignment]


def _adapted(peft: PeftModel) -> dict[str, Any]:
    """Adapted layers by the names of the base."""
    return dict(lora_layers(peft.get_base_model()))
