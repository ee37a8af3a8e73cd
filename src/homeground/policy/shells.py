"""Two shells, one base: module trees that share the frozen tensors and nothing else.

The trainer, the reference of the KL term and the sampler each have their own tree: own config, own attention,
own LoRA tensors. Nothing ever switches adapters or modes on a shared module.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

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


class SharedInput:
    """The A factors of layers that read the same tensor (q, k and v; gate and up), multiplied in one product.

    Each layer asks for its share; whether its input is indeed the one that was multiplied is checked every time.

    Args:
        layers: at least two; their ``lora_a`` become views of one tensor, so that publishing needs no change.
    """

    def __init__(self, layers: Sequence[SamplerLinear]) -> None:
        self._a = torch.cat([layer.lora_a for layer in layers])
        self._asked = 0
        self._layers = len(layers)
        self._input: Tensor | None = None
        self._product = self._a
        start = 0
        for layer in layers:
            stop = start + len(layer.lora_a)
            layer.lora_a = self._a[start:stop]
            layer.share = (self, start, stop)
            start = stop

    def product(self, x: Tensor, start: int, stop: int) -> Tensor:
        """``x A'`` of one of the layers."""
        if x is not self._input:
            self._input, self._product, self._asked = x, linear(x, self._a), 0
        found = self._product[..., start:stop]
        self._asked += 1
        if self._asked == self._layers:
            self._input, self._product = None, self._a
        return found


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
        self.share: tuple[SharedInput, int, int] | None = None

    def load(self, layer: LoraLayer) -> None:
        """Take over the trainer's current factors."""
        a, b = lora_factors(layer)
        self.lora_a.copy_(a)
        self.lora_b.copy_(b)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        out = linear(x, self.weight, self.bias)
        if self.share is None:
            low = linear(x, self.lora_a)
        else:
            shared, start, stop = self.share
            low = shared.product(x, start, stop)
        rows = out.view(-1, out.shape[-1])
        rows.addmm_(low.reshape(-1, low.shape[-1]), self.lora_b.t())
        return out


def share_inputs(shell: nn.Module, forward: Callable[[], object]) -> None:
    """Find the layers of a sampler's shell that read the same tensor, and let each group share its product with A.

    Args:
        shell: from :func:`sampler_shell`.
        forward: runs the shell once, on anything.
    """
    readers: dict[int, tuple[object, list[SamplerLinear]]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, SamplerLinear)
        # The tensor is kept, or a later one could get its id.
        readers.setdefault(id(inputs[0]), (inputs[0], []))[1].append(layer)

    layers = [module for module in shell.modules() if isinstance(module, SamplerLinear)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    for _, group in readers.values():
        if len(group) > 1 and len(set(map(id, group))) == len(group):
            SharedInput(group)


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
