"""Modules of a model taken over by operations with written gradients (:mod:`homeground.policy.layer_gradients`).

Modules are recognised by what they compute: :func:`fuse` tries each candidate on random numbers and takes over only
what gives the same. A fused module is one of a subclass of its own class, so names, parameters and files stay.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear

from homeground.policy.dora import is_dora, lengthening
from homeground.policy.layer_gradients import GatedDown, LowRank, RmsNorm, Rotation, normalized, rotated
from homeground.policy.quantize import frozen, is_quantized

_ALIKE = 1e-5
_LEAST_GAIN = 1e-6
_MOST_TENSORS = 16
"""No gated MLP has more parameters than this, adapters included."""


class Fused:
    """What a fused module's class begins with; ``plain`` is the class that it had."""

    plain: type[nn.Module]


def fuse(model: nn.Module) -> None:
    """Let modules of a model compute by the functions above wherever that gives the same numbers.

    Args:
        model: adapters injected; its weights stay as they are. On the meta device it is judged by small examples.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            if _is_linear(module.get_base_layer()):
                _become(module, FusedLora)
        elif _is_rms_norm(example := _with_numbers(module)):
            _become(module, FusedNorm)
            module.offset, module.divides = example.offset, example.divides  # type: ignore[assignment]
        elif _is_gated_mlp(example):
            _become(module, FusedMlp)
        elif _with_rotation(type(module).forward) is not None:
            _become(module, FusedAttention)


def _with_numbers(module: nn.Module) -> nn.Module:
    """The module itself; of one on the meta device, a copy with real ones, and with small products below it."""
    tensors = [*module.parameters()]
    if not tensors or tensors[0].device.type != "meta" or len(tensors) > _MOST_TENSORS:
        return module
    copied = copy.deepcopy(module)
    for name, own in list(module.named_parameters(recurse=False)):
        setattr(copied, name, nn.Parameter(torch.ones(own.shape)))
    if hasattr(module, "down_proj"):
        for name, (inward, outward) in {"gate_proj": (4, 6), "up_proj": (4, 6), "down_proj": (6, 4)}.items():
            setattr(copied, name, nn.Linear(inward, outward))
    return copied


def _become(module: nn.Module, kind: type[Fused]) -> None:
    module.__class__ = _subclass(kind, type(module))


@functools.cache
def _subclass(kind: type[Fused], plain: type[nn.Module]) -> type[nn.Module]:
    return cast("type[nn.Module]", type(f"Fused{plain.__name__}", (kind, plain), {"plain": plain}))


class FusedLora(Fused):
    """A LoRA layer of PEFT over a linear layer; whatever is not one adapter, plain or DoRA, stays PEFT's own.

    ``idle``: B is zero and stays so, the adapter's products are left out.
    """

    idle: bool = False

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See :class:`LowRank`."""
        if args or kwargs or (found := factors_of(self) or dora_factors_of(self)) is None:
            return cast("Tensor", self.plain.forward(self, x, *args, **kwargs))
        if self.lora_variant:
            out, bias = LowRank.apply(x, *found), cast("Tensor | None", found[2].bias)
            longer = lengthening(self, *found).to(out.dtype)
            return out * longer if bias is None else torch.addcmul(bias.to(out.dtype), out - bias, longer)
        if self.idle:
            weight, bias = frozen(self.get_base_layer())
            with torch.autocast(x.device.type, enabled=False):
                return linear(x.to(weight.dtype), weight, bias)
        return cast("Tensor", LowRank.apply(x, *found))

    @property
    def adds_nothing(self: Any) -> bool:
        """Whether B is zero now."""
        found = factors_of(self)
        return found is not None and not bool(found[1].any())


def factors_of(layer: Any) -> tuple[Tensor, Tensor, nn.Linear, float] | None:
    """A, B, the frozen layer and the scale of a fused layer; None while it is anything but one plain adapter."""
    if not isinstance(layer, FusedLora) or layer.lora_variant:  # type: ignore[attr-defined]
        return None
    return _factors(layer)


def dora_factors_of(layer: Any) -> tuple[Tensor, Tensor, nn.Linear, float] | None:
    """The same of a fused layer whose one adapter is DoRA."""
    return _factors(layer) if isinstance(layer, FusedLora) and is_dora(cast("LoraLayer", layer)) else None


def _factors(layer: Any) -> tuple[Tensor, Tensor, nn.Linear, float] | None:
    if layer.disable_adapters or layer.merged:
        return None
    active = layer.active_adapters
    if len(active) != 1 or len(layer.lora_A) != 1 or active[0] not in layer.lora_A:
        return None
    name = active[0]
    a, b = layer.lora_A[name], layer.lora_B[name]
    dropout = layer.lora_dropout[name]
    if b.bias is not None or (dropout.training and not isinstance(dropout, nn.Identity)):
        return None
    base = layer.get_base_layer()
    if base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad):
        return None
    return a.weight, b.weight, base, layer.scaling[name]


def _is_linear(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or is_quantized(layer)


class FusedNorm(Fused):
    """A module that is :class:`RmsNorm`; ``narrow`` is the type of what it gives, that of its input if None."""

    narrow: torch.dtype | None = None
    offset: float = 0.0
    divides: bool = False

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See :class:`RmsNorm`."""
        if args or kwargs or self.weight.requires_grad:
            return cast("Tensor", self.plain.forward(self, x, *args, **kwargs))
        parts = x, self.gain(), _eps(self), self.narrow or x.dtype
        return cast("Tensor", RmsNorm.apply(*parts, self.divides)) if x.requires_grad else normalized(*parts)[0]

    def gain(self: Any) -> Tensor:
        """What normalised values are multiplied by, float32."""
        return cast("Tensor", self.weight.float() + self.offset if self.offset else self.weight.float())


def _eps(module: Any) -> float:
    return cast("float", getattr(module, "variance_epsilon", None) or getattr(module, "eps", None) or 0.0)


def _is_rms_norm(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    if "Norm" not in type(module).__name__ or not isinstance(weight, Tensor) or weight.dim() != 1 or not _eps(module):
        return False
    if getattr(module, "bias", None) is not None:
        return False
    x = _noise(weight, len(weight))
    try:
        with torch.no_grad():
            expected = module(x)
            for offset in (0.0, 1.0):
                gain = weight.float() + offset
                if _close(normalized(x, gain, _eps(module), torch.float32)[0], expected):
                    module.offset, module.divides = offset, bool((gain.abs() > _LEAST_GAIN).all())
                    return True
    except (TypeError, RuntimeError):
        # It wants more than one input, or another shape.
        return False
    return False


class FusedMlp(Fused):
    """``down(act(gate(x)) * up(x))`` whose last product is a fused LoRA layer."""

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See :class:`GatedDown`."""
        if args or kwargs or not torch.is_grad_enabled() or (found := factors_of(self.down_proj)) is None:
            return cast("Tensor", self.plain.forward(self, x, *args, **kwargs))
        return cast("Tensor", GatedDown.apply(self.gate_proj(x), self.up_proj(x), self.act_fn, *found))


def _is_gated_mlp(module: Any) -> bool:
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")]
    if not all(isinstance(part, nn.Module) for part in parts):
        return False
    gate, up, down, act = cast("list[Any]", parts)
    base = getattr(gate, "base_layer", gate)
    if not _is_linear(base):
        return False
    x = _noise(base.weight, base.in_features).to(
        base.weight.dtype if base.weight.is_floating_point() else torch.float32
    )
    try:
        with torch.no_grad():
            return bool(torch.equal(module(x), down(act(gate(x)) * up(x))))
    except (TypeError, RuntimeError):
        return False


ROPE = "apply_rotary_pos_emb"


class FusedAttention(Fused):
    """An attention module whose own forward runs with :class:`Rotation` for its modeling file's rotary function."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        own = self.plain.forward
        return (_with_rotation(own) or own)(self, *args, **kwargs)


@functools.cache
def _with_rotation(forward: Any) -> Callable[..., Any] | None:
    """The same code calling :class:`Rotation`; None if it calls no rotary function or one that is something else."""
    code = getattr(forward, "__code__", None)
    rope: Callable[..., Any] | None = getattr(forward, "__globals__", {}).get(ROPE)
    if code is None or rope is None or ROPE not in code.co_names:
        return None
    q, k, angles = (torch.randn(1, heads, 3, 8, generator=torch.Generator().manual_seed(heads)) for heads in (2, 1, 4))
    cos, sin = angles[:, 0], angles[:, 1]
    try:
        expected = rope(q, k, cos, sin)
    except (TypeError, RuntimeError):
        return None
    if not all(_close(rotated(x, cos, sin), y) for x, y in zip((q, k), expected, strict=True)):
        return None

    def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or cos.dim() != 3 or not q.shape[-1] == k.shape[-1] == cos.shape[-1]:
            return rope(q, k, cos, sin, *args, **kwargs)
        turn = Rotation.apply if torch.is_grad_enabled() else rotated
        return turn(q, cos, sin), turn(k, cos, sin)

    names = {**forward.__globals__, ROPE: rotate}
    twin = types.FunctionType(code, names, forward.__name__, forward.__defaults__, forward.__closure__)
    twin.__kwdefaults__ = forward.__kwdefaults__
    return twin


def _noise(like: Tensor, width: int) -> Tensor:
    return torch.randn(3, width, generator=torch.Generator().manual_seed(0)).to(like.device)


def _close(found: Any, expected: Any) -> bool:
    return isinstance(expected, Tensor) and torch.allclose(found, expected.float(), rtol=_ALIKE, atol=_ALIKE)
