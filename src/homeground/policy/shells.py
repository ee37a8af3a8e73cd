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

from homeground.policy.dora import is_dora, lengthening
from homeground.policy.fused import FusedLora
from homeground.policy.layer_gradients import low_rank
from homeground.policy.quantize import frozen, is_quantized, quantized_layers


def frozen_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose adapter stays what it is now, over the same base tensors: the reference of a KL term.

    An adapter that adds nothing (fresh, B = 0) costs the twin nothing; its numbers are the same to the last bit.
    """
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    twin = copy.deepcopy(model, shared)
    twin.requires_grad_(False)
    for module in twin.modules():
        if isinstance(module, FusedLora):
            module.idle = module.adds_nothing
    return twin.eval()


FEW_ROWS = 64
"""Up to so many rows a bf16 product is faster the other way round on a CPU."""


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """:func:`low_rank`; of few rows, the result is laid out by columns."""
    rows = x.flatten(0, -2)
    if len(rows) > FEW_ROWS:
        return low_rank(x, weight, bias, a, b)[0]
    columns = rows.to(weight.dtype).t()
    out = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    out.addmm_(b, a @ columns)
    return out.t().view(*x.shape[:-1], -1)


class SharedInput:
    """Layers that read the same tensor (q, k and v; gate and up) as one: their products are made together.

    With W and A stacked and B block-diagonal, ``x W' + (x A') B'`` is all layers' output side by side::

        q (out 4, r 1)     W = [Wq; Wk]     A = [Aq; Ak]     B = [Bq  0 ]
        k (out 2, r 1)         6 x in           2 x in           [0   Bk]   6 x 2

    Each layer asks for its columns; whether its input is indeed the one that was multiplied is checked every time.

    Args:
        layers: at least two; their tensors become views of the stacked ones, so publishing needs no change. Where
            the trainer's frozen weights are shared they become views too: same values, and still held once.
    """

    def __init__(self, layers: Sequence[SamplerLinear]) -> None:
        self._layers = len(layers)
        self._weight = _stacked([layer.weight for layer in layers])
        self._a = torch.cat([layer.lora_a for layer in layers])
        self._b = self._a.new_zeros(len(self._weight), len(self._a))
        self._bias: Tensor | None = None
        if any(layer.bias is not None for layer in layers):
            self._bias = torch.cat([torch.zeros_like(x.weight[:, 0]) if x.bias is None else x.bias for x in layers])
        self._input: Tensor | None = None
        self._output = self._weight
        self._asked = 0
        top, left = 0, 0
        for layer in layers:
            rows, rank = slice(top, top + len(layer.weight)), slice(left, left + len(layer.lora_a))
            self._b[rows, rank] = layer.lora_b
            layer.lora_a, layer.lora_b = self._a[rank], self._b[rows, rank]
            layer.hold(self._weight[rows])
            layer.share = (self, rows)
            top, left = rows.stop, rank.stop

    def output(self, x: Tensor, rows: slice) -> Tensor:
        """One layer's output."""
        if x is not self._input:
            self._input, self._asked = x, 0
            self._output = _product(x, self._weight, self._bias, self._a, self._b)
        found = self._output[..., rows]
        self._asked += 1
        if self._asked == self._layers:
            self._input, self._output = None, self._weight
        return found


def _stacked(weights: Sequence[Tensor]) -> Tensor:
    """``torch.cat``, without a copy where another shell has laid them out like this already."""
    first, at = weights[0], weights[0].storage_offset()
    for weight in weights:
        alike = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() and weight.is_contiguous()
        if not alike or weight.storage_offset() != at:
            return torch.cat(list(weights))
        at += weight.numel()
    return first.as_strided((sum(map(len, weights)), first.shape[1]), first.stride())


class SamplerLinear(nn.Module):
    """``x W' + (x A') B'`` in one dtype without gradients; B holds the LoRA scale, and W and B DoRA's lengths.

    A is (r, in), B is (out, r), both copied from the trainer at every publish.

    Args:
        layer: the trainer's.
        dtype: of all products.
        packed: multiply with the quantized layer itself and hold no weight.
    """

    def __init__(self, layer: LoraLayer, dtype: torch.dtype, *, packed: bool = False) -> None:
        super().__init__()
        base = layer.get_base_layer()
        self.packed = base if packed else None
        self.weight, self.bias = (torch.empty(0, dtype=dtype), None) if packed else frozen(base, dtype)
        # In a list, so that the trainer's parameter is not taken for one of this tree.
        self._trainers = [base.weight]
        a, b, self.longer = lora_factors(layer)
        if self.longer is not None and not packed:
            self.weight = (frozen(base)[0] * self.longer[:, None]).to(dtype)
        self.lora_a = a.to(dtype)
        self.lora_b = b.to(dtype)
        self.share: tuple[SharedInput, slice] | None = None

    def hold(self, weight: Tensor) -> None:
        """Use equal values in another place, the trainer too if it shares this weight."""
        (trainers,) = self._trainers
        if isinstance(trainers, Tensor) and trainers.data_ptr() == self.weight.data_ptr():
            trainers.data = weight
        self.weight = weight

    def load(self, layer: LoraLayer) -> None:
        """Take over the trainer's current factors."""
        a, b, self.longer = lora_factors(layer)
        self.lora_a.copy_(a)
        self.lora_b.copy_(b)
        if self.longer is not None and self.packed is None:
            self.weight.copy_(frozen(layer.get_base_layer())[0] * self.longer[:, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.packed is not None:
            x = x.to(self.lora_a.dtype)
            out = self.packed(x)
            if self.longer is not None:
                bias = getattr(self.packed, "bias", None)
                bias = 0 if bias is None else bias
                out = (out - bias) * self.longer.to(out.dtype) + bias
            return out + linear(linear(x, self.lora_a), self.lora_b)
        if self.share is None:
            return _product(x, self.weight, self.bias, self.lora_a, self.lora_b)
        shared, rows = self.share
        return shared.output(x, rows)


def share_inputs(shell: nn.Module, forward: Callable[[], object]) -> None:
    """Find the layers of a sampler's shell that read the same tensor, and make the products of each group as one.

    Args:
        shell: from :func:`sampler_shell`.
        forward: runs the shell once, on anything.
    """
    readers: dict[int, tuple[object, list[SamplerLinear]]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, SamplerLinear)
        # The tensor is kept, or a later one could get its id.
        readers.setdefault(id(inputs[0]), (inputs[0], []))[1].append(layer)

    layers = [m for m in shell.modules() if isinstance(m, SamplerLinear) and m.packed is None]
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


def lora_factors(layer: LoraLayer) -> tuple[Tensor, Tensor, Tensor | None]:
    """A (r, in) and B times scale (out, r) of a layer's only adapter, and with DoRA what each row of the base is
    multiplied with (B is already), (out,); detached.

    Raises:
        NotImplementedError: the layer has several adapters or a variant that is neither plain nor DoRA.
    """
    name, *others = layer.lora_A.keys()
    if others or (layer.lora_variant and not is_dora(layer)):
        raise NotImplementedError("the sampler's shell holds exactly one plain LoRA adapter, or one of DoRA")
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    assert isinstance(a, Tensor)
    assert isinstance(b, Tensor)
    if not layer.lora_variant:
        return a.detach(), b.detach() * layer.scaling[name], None
    longer = lengthening(layer, a, b, layer.get_base_layer(), layer.scaling[name]).detach()
    return a.detach(), b.detach() * layer.scaling[name] * longer[:, None], longer


def sampler_shell(model: PreTrainedModel, dtype: torch.dtype, *, packed: bool | None = None) -> PreTrainedModel:
    """A tree for sampling over the trainer's base.

    Plain weights are shared. On a CPU, packed weights are held dequantized: the same numbers (2 bytes a parameter
    more), because a 4-bit product at the few rows of a decode step costs twice a bf16 one there. Elsewhere memory is
    dearer than that: the packed weights themselves are shared.

    Args:
        model: the trainer's.
        dtype: of all products.
        packed: whether to share packed weights; by default wherever the model is not on a CPU.
    """
    packed = model.device.type != "cpu" if packed is None else packed
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    shell = copy.deepcopy(model, shared).eval().requires_grad_(False)
    for name in _trained_whole(model):
        whole = shell.get_parameter(name)
        whole.data = whole.data.to(dtype)
    for name, layer in lora_layers(shell).items():
        parent, _, child = name.rpartition(".")
        fresh = SamplerLinear(layer, dtype, packed=packed and is_quantized(layer.get_base_layer()))
        setattr(shell.get_submodule(parent), child, fresh)
    if not packed:
        unpack(shell, dtype)
    return shell


def unpack(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Put plain layers in the place of a model's packed ones: the same numbers, 2 bytes a parameter."""
    for name, layer in quantized_layers(model).items():
        parent, _, child = name.rpartition(".")
        weight, bias = frozen(layer, dtype)
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        plain.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            plain.bias = nn.Parameter(bias, requires_grad=False)
        setattr(model.get_submodule(parent), child, plain)


def publish(trainer: PreTrainedModel, shell: PreTrainedModel) -> None:
    """Copy the trainer's adapter into a sampler shell."""
    targets = dict(shell.named_modules())
    for name, layer in lora_layers(trainer).items():
        target = targets[name]
        assert isinstance(target, SamplerLinear)
        target.load(layer)
    with torch.no_grad():
        for name, master in _trained_whole(trainer).items():
            shell.get_parameter(name).copy_(master)


def _trained_whole(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Parameters that are trained themselves, not through low-rank factors (PEFT's ``modules_to_save``)."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad and ".lora_" not in name}


def lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """The adapted layers of a model by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
