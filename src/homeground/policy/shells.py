"""Two shells, one base: module trees that share the frozen tensors and nothing else.

The trainer, the reference of the KL term and the sampler each have their own tree: own config, own attention,
own LoRA tensors. Nothing ever switches adapters or modes on a shared module.
"""

from __future__ import annotations

import copy

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from homeground.policy.quantize import dequantized, four_bit_layers


def frozen_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose adapter stays what it is now, over the same base tensors: the reference of a KL term."""
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    twin = copy.deepcopy(model, shared)
    twin.requires_grad_(False)
    return twin.eval()


class SamplerLinear(nn.Module):
    """``x W' + (x A') B'`` in one dtype without gradients; B holds the LoRA scale.

    A is (r, in), B is (out, r), both copied from the trainer at every publish.
    """

    def __init__(self, layer: LoraLayer, dtype: torch.dtype) -> None:
        super().__init__()
        base = layer.get_base_layer()
        self.weight = dequantized(base).detach().to(dtype)
        self.bias = _bias(base, dtype)
        a, b = lora_factors(layer)
        self.lora_a = a.to(dtype)
        self.lora_b = b.to(dtype)

    def load(self, layer: LoraLayer) -> None:
        """Take over the trainer's current factors."""
        a, b = lora_factors(layer)
        self.lora_a.copy_(a)
        self.lora_b.copy_(b)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        out = linear(x, self.weight, self.bias)
        update = linear(linear(x, self.lora_a), self.lora_b)
        return out.add_(update)


def lora_factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """A (r, in) and B times scale (out, r) of a layer's only adapter, detached.

    Raises:
        NotImplementedError: the layer has several adapters or a variant that is no plain low-rank sum (DoRA).
    """
    name, *others = layer.lora_A.keys()
    if others or layer.lora_variant:
        raise NotImplementedError("the sampler's shell holds exactly one plain LoRA adapter")
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    assert isinstance(a, Tensor)
    assert isinstance(b, Tensor)
    return a.detach(), b.detach() * layer.scaling[name]


def sampler_shell(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A tree for sampling over the trainer's base.

    Plain weights are shared. 4-bit weights are held dequantized: the same numbers (2 bytes a parameter more),
    because a 4-bit product at the few rows of a decode step costs twice a bf16 one on a CPU.
    """
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    shell = copy.deepcopy(model, shared).eval().requires_grad_(False)
    for name, layer in lora_layers(shell).items():
        parent, _, child = name.rpartition(".")
        setattr(shell.get_submodule(parent), child, SamplerLinear(layer, dtype))
    leftover = four_bit_layers(shell)
    for name, layer in leftover.items():
        parent, _, child = name.rpartition(".")
        weight, bias = dequantized(layer).detach().to(dtype), _bias(layer, dtype)
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        plain.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            plain.bias = nn.Parameter(bias, requires_grad=False)
        setattr(shell.get_submodule(parent), child, plain)
    return shell


def publish(trainer: PreTrainedModel, shell: PreTrainedModel) -> None:
    """Copy the trainer's adapter into a sampler shell."""
    targets = dict(shell.named_modules())
    for name, layer in lora_layers(trainer).items():
        target = targets[name]
        assert isinstance(target, SamplerLinear)
        target.load(layer)


def _bias(layer: nn.Module, dtype: torch.dtype) -> Tensor | None:
    bias = getattr(layer, "bias", None)
    return bias.detach().to(dtype) if isinstance(bias, Tensor) else None


def lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """The adapted layers of a model by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
