"""How the frozen base is stored: 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), 8 bits, or plain.

===========  ==============================================  ===========================================
kind         a weight is                                     bits a parameter
===========  ==============================================  ===========================================
nf4          nearest of 16 quantiles of a normal             4 + 32 / blocksize; with double quantization
             distribution, times its block's largest         4 + 8 / blocksize + 32 / (256 blocksize):
             magnitude                                       4.127 at 64
fp4          nearest of 16 small floats, likewise            the same
int8         round(127 w / largest of its row), as           8 + 32 / columns
             LLM.int8 stores it (arXiv 2208.07339)
===========  ==============================================  ===========================================

Three things of bitsandbytes 0.50 are not taken as they come (:func:`keep_trainable`):

- On CPUs with AVX512-BF16 it repacks a 4-bit weight in place at the first forward without gradients, and training
  through it afterwards gets no gradient and no error. That is turned off.
- On a CPU its 4-bit products are wrong where a block goes on from one row into the next (a width that blocksize does
  not divide: SmolLM2's 576 with blocks of 128). :func:`dequantized` unpacks such a layer as one long row, and its
  products are made with that.
- LLM.int8 rounds activations too and takes a column apart when one row of the batch has an outlier in it: a token's
  output would depend on its neighbours, and forests would not equal plain rows. Here 8 bits are storage; products
  are made in the compute dtype.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

from homeground.policy.config import ModelConfig, Quantization

_METHOD = "homeground_4bit"


@register_quantization_config(_METHOD)
class _BlockConfig(BitsAndBytesConfig):
    """transformers' own has no field for the size of blocks."""

    def __init__(self, blocksize: int, **values: Any) -> None:
        super().__init__(**values)
        self.quant_method = _METHOD  # type: ignore[assignment]
        self.blocksize = blocksize

    def to_diff_dict(self) -> dict[str, Any]:
        return self.to_dict()


@register_quantizer(_METHOD)
class _BlockQuantizer(Bnb4BitHfQuantizer):
    """Says the size of blocks to each layer before its weight is packed."""

    def _process_model_before_weight_loading(self, model: Any, device_map: Any, **more: Any) -> None:
        super()._process_model_before_weight_loading(model, device_map, **more)  # pyright: ignore[reportPrivateUsage]
        for layer in four_bit_layers(model).values():
            layer.weight.blocksize = self.quantization_config.blocksize  # type: ignore[union-attr]


def quantization_config(settings: ModelConfig, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """Return what transformers needs to load a model that computes in a dtype; None for plain weights."""
    if settings.quantization is Quantization.NONE:
        return None
    # bitsandbytes announces an optional kernel that it did not find on a hub; nothing is missing.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    if settings.quantization is Quantization.INT8:
        return cast("Any", BitsAndBytesConfig)(load_in_8bit=True)
    config: BitsAndBytesConfig = cast("Any", _BlockConfig)(
        settings.blocksize,
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.quantization.value,
        bnb_4bit_use_double_quant=settings.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
    return config


def four_bit_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The 4-bit layers of a model by name."""
    from bitsandbytes.nn.modules import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def quantized_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The 4-bit and 8-bit layers of a model by name."""
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    return {name: module for name, module in model.named_modules() if isinstance(module, (Linear4bit, Linear8bitLt))}


def is_quantized(layer: nn.Module) -> bool:
    """Whether a layer's weight is packed."""
    weight = getattr(layer, "weight", None)
    return getattr(weight, "quant_state", None) is not None or getattr(weight, "SCB", None) is not None


def storage_of(layer: nn.Module) -> str:
    """The storage of a quantized layer: nf4, fp4 or int8."""
    state = getattr(layer.weight, "quant_state", None)
    return "int8" if state is None else cast("str", state.quant_type)


def keep_trainable(model: nn.Module, dtype: torch.dtype) -> None:
    """Make products of quantized layers that training can rely on; see the module's words.

    Args:
        model: just loaded.
        dtype: what it computes in.
    """
    for layer in quantized_layers(model).values():
        layer.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
        layer.compute_dtype = dtype  # type: ignore[assignment]
        weight = cast("Any", layer.weight)
        state = getattr(weight, "quant_state", None)
        if state is None or _straddles(weight, state):
            layer.__class__ = _unpacking(type(layer))


def dequantized(layer: nn.Module) -> Tensor:
    """The weight that a linear layer computes with, (out, in), in its compute dtype."""
    weight = cast("Any", layer.weight)
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        return _unpacked_whole(weight, state) if _straddles(weight, state) else dequantize_4bit(weight.data, state)
    if (largest := getattr(weight, "SCB", None)) is not None:
        return (weight.data * (largest[:, None] / 127)).to(layer.compute_dtype)
    return weight.T.contiguous() if isinstance(layer, Conv1D) else weight


def frozen(layer: nn.Module, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
    """Weight (out, in) and bias (out,) that a linear layer computes with, detached, in one type (its own if None)."""
    weight = dequantized(layer).detach().to(dtype)
    bias = getattr(layer, "bias", None)
    return weight, bias.detach().to(weight.dtype) if isinstance(bias, Tensor) else None


def store(layer: nn.Module, weight: Tensor) -> None:
    """Give a frozen layer another weight (out, in), packed as the one that it had."""
    held = cast("Any", layer.weight)
    if (state := getattr(held, "quant_state", None)) is not None:
        from bitsandbytes.nn.modules import Params4bit

        layer.weight = cast("Any", Params4bit)(
            weight.to(state.dtype),
            requires_grad=False,
            blocksize=state.blocksize,
            compress_statistics=state.nested,
            quant_type=state.quant_type,
            quant_storage=held.quant_storage,
            module=layer,
        ).to(held.device)
    elif is_quantized(layer):
        from bitsandbytes.nn.modules import Int8Params

        # It packs what lies on a CPU.
        layer.weight = cast("Any", Int8Params)(weight.cpu(), requires_grad=False).to(held.device)
    else:
        held.data = (weight.T.contiguous() if isinstance(layer, Conv1D) else weight).to(held)


def _straddles(weight: Tensor, state: Any) -> bool:
    """Whether a block holds the end of one row and the beginning of the next, on a CPU."""
    return weight.device.type == "cpu" and state.shape[-1] % state.blocksize != 0


def _unpacked_whole(weight: Tensor, state: Any) -> Tensor:
    """A 4-bit weight unpacked block by block, whatever its rows."""
    from bitsandbytes.functional import dequantize_blockwise

    largest = dequantize_blockwise(state.absmax, state.state2) + state.offset if state.nested else state.absmax
    count, size = state.shape.numel(), state.blocksize
    rows = (count // size, size) if count % size == 0 else (1, count)
    unpack = torch.ops.bitsandbytes.dequantize_4bit.default
    return unpack(weight.data, largest.float(), size, state.quant_type, rows, state.dtype).view(state.shape)


class _Product(torch.autograd.Function):
    """``x W' + b`` through a packed layer; what is unpacked is not kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:  # type: ignore[override]
        ctx.layer, ctx.dtype = layer, x.dtype
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = frozen(layer)
            return linear(x.to(weight.dtype), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        with torch.autocast(grad.device.type, enabled=False):
            weight = dequantized(ctx.layer).detach()
            return (grad.to(weight.dtype) @ weight).to(ctx.dtype), None


@functools.cache
def _unpacking(kind: type[nn.Module]) -> type[nn.Module]:
    """The same kind of layer, under the same name, computing by :class:`_Product`."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return cast("Tensor", _Product.apply(x, self))

    return cast("type[nn.Module]", type(kind.__name__, (kind,), {"forward": forward}))
