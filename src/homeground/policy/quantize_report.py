"""What quantization really did to a model: which layers are packed, at how many bits, and what that lost.

Bits are counted from the bytes that a layer holds: packed weights and their constants, the constants' own constants
with double quantization; the codebook, 64 bytes a model, is left out. The error of a layer is relative in the
Frobenius norm, ``|Q - W| / |W|``, against the weights of the model's file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from homeground.policy.base_model import Base
from homeground.policy.quantize import dequantized, quantized_layers, storage_of

WORST = 5


@dataclass(frozen=True)
class PackedLayer:
    """One quantized layer.

    Attributes:
        name: in the model.
        storage: nf4, fp4 or int8.
        parameters: of its weight.
        bits: a parameter.
        error: relative, in the Frobenius norm.
    """

    name: str
    storage: str
    parameters: int
    bits: float
    error: float

    @property
    def kind(self) -> str:
        """What it is in every decoder layer."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class PlainPart:
    """Parameters that are not quantized, alike in kind.

    Attributes:
        kind: last part of their modules' name.
        modules: how many.
        parameters: of all of them.
        dtype: how they are stored.
        why: they are not quantized.
    """

    kind: str
    modules: int
    parameters: int
    dtype: str
    why: str


@dataclass(frozen=True)
class QuantizationReport:
    """See the module."""

    packed: Sequence[PackedLayer]
    plain: Sequence[PlainPart]

    @property
    def bits(self) -> float:
        """Bits a parameter, of all quantized layers together; 0 without any."""
        total = sum(layer.parameters for layer in self.packed)
        return sum(layer.bits * layer.parameters for layer in self.packed) / total if total else 0.0

    def kinds(self) -> dict[str, dict[str, Any]]:
        """Of each kind of packed layer: how many, their storage, bits and errors."""
        grouped: dict[str, list[PackedLayer]] = defaultdict(list)
        for layer in self.packed:
            grouped[layer.kind].append(layer)
        return {
            kind: {
                "layers": len(layers),
                "storage": "/".join(sorted({layer.storage for layer in layers})),
                "parameters": sum(layer.parameters for layer in layers),
                "bits": sum(layer.bits * layer.parameters for layer in layers) / sum(x.parameters for x in layers),
                "error_mean": sum(layer.error for layer in layers) / len(layers),
                "error_worst": max(layer.error for layer in layers),
            }
            for kind, layers in grouped.items()
        }

    def worst(self) -> list[PackedLayer]:
        """The layers that lost most."""
        return sorted(self.packed, key=lambda layer: -layer.error)[:WORST]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "bits_per_parameter": self.bits,
            "packed_parameters": sum(layer.parameters for layer in self.packed),
            "plain_parameters": sum(part.parameters for part in self.plain),
            "kinds": self.kinds(),
            "worst": [asdict(layer) for layer in self.worst()],
            "plain": [asdict(part) for part in self.plain],
        }


def quantization_report(base: Base) -> QuantizationReport:
    """Look at every parameter of a base."""
    model = base.model
    layers = quantized_layers(model)
    packed: list[PackedLayer] = []
    for name, layer in layers.items():
        original = base.originals.weight(name).to(model.device).float()
        found = dequantized(layer).float()
        packed.append(
            PackedLayer(
                name,
                storage_of(layer),
                original.numel(),
                8 * _bytes(layer) / original.numel(),
                float((found - original).norm() / original.norm()),
            )
        )
    return QuantizationReport(packed, _plain_parts(model, layers))


def _bytes(layer: nn.Module) -> int:
    weight = cast("Any", layer.weight)
    held: list[Tensor] = [weight.data]
    if (state := getattr(weight, "quant_state", None)) is not None:
        held += [state.absmax, *([state.state2.absmax, state.offset] if state.nested else [])]
    else:
        held.append(weight.SCB)
    return sum(tensor.nbytes for tensor in held)


def _plain_parts(model: PreTrainedModel, packed: dict[str, nn.Module]) -> list[PlainPart]:
    grouped: dict[tuple[str, torch.dtype, str], list[int]] = defaultdict(list)
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is table.weight
    for name, module in model.named_modules():
        own = [p for n, p in module.named_parameters(recurse=False) if name not in packed or n != "weight"]
        if not own or (module is head and tied):
            continue
        kind = name.rpartition(".")[2] or type(module).__name__
        grouped[kind, own[0].dtype, _why(module, head, table, tied=tied)].append(sum(p.numel() for p in own))
    return [
        PlainPart(kind, len(counts), sum(counts), str(dtype).removeprefix("torch."), why)
        for (kind, dtype, why), counts in grouped.items()
    ]


def _why(module: nn.Module, head: object, table: object, *, tied: bool) -> str:
    if module is table:
        return "a table that is looked up" + (", and the output head is the same matrix" if tied else "")
    if module is head:
        return "the output head: an error there is an error of every log-probability"
    if isinstance(module, nn.Linear):
        if any(p.dim() == 2 and p.is_floating_point() for p in module.parameters(recurse=False)):
            return "the model's code keeps it as it is"
        return "the bias of a packed layer"
    return "one number a channel" if all(p.dim() == 1 for p in module.parameters(recurse=False)) else "no linear layer"
