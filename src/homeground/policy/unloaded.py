"""A policy without weights: built from a configuration alone, for the memory plan."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from bitsandbytes.functional import QuantState
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from homeground.policy import attention
from homeground.policy.adapters import peft_config, wrapped
from homeground.policy.base_model import dtype_of
from homeground.policy.config import ModelConfig, Quantization
from homeground.policy.fused import fuse
from homeground.policy.load import checkpoint_layers, keep_residual_stream
from homeground.policy.quantize import dequantized
from homeground.policy.shells import lora_layers


def first_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """The configuration with fewer layers; what it lists layer by layer is cut too."""
    cut = copy.deepcopy(config)
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == config.num_hidden_layers:
            setattr(cut, name, value[:layers])
    cut.num_hidden_layers = layers
    return cut


def outline(config: PretrainedConfig, settings: ModelConfig) -> PeftModel:
    """The policy on the meta device, fused and hooked as a loaded one; weights not yet packed."""
    attention.register()
    dtype = dtype_of(settings.compute_dtype)
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention.IMPLEMENTATION, trust_remote_code=False
        )
    assert isinstance(base, PreTrainedModel)
    base.config.use_cache = False
    peft = wrapped(base, peft_config(base, settings.lora), on_meta=True)
    for layer in lora_layers(peft).values():
        layer.cast_input_dtype_enabled = dtype is torch.float32
    peft.eval()
    model = cast("PreTrainedModel", peft.get_base_model())
    if settings.fused_layers:
        fuse(model)
    if dtype is not torch.float32:
        keep_residual_stream(model, dtype)
    if settings.gradient_checkpointing:
        checkpoint_layers(model)
    return peft


def give_shapes(peft: PeftModel, settings: ModelConfig) -> None:
    """Every parameter and buffer of an outline as an empty tensor, packed where it would be.

    Within a trace none of them is real.
    """
    model = cast("PreTrainedModel", peft.get_base_model())
    head = model.get_output_embeddings()
    layers = cast("list[nn.Module]", [*lora_layers(model).values()])
    adapters = {id(p) for layer in layers for name, p in layer.named_parameters() if "lora_" in name}
    adapted = {id(layer.get_base_layer()) for layer in lora_layers(model).values()}
    made: dict[int, nn.Parameter] = {}
    for module in list(peft.modules()):
        linear = type(module) is nn.Linear and module is not head and settings.quantization is not Quantization.NONE
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:
                if linear and name == "weight" and not parameter.requires_grad and id(parameter) not in adapters:
                    made[id(parameter)] = _packed(parameter.shape, settings)
                else:
                    dtype = torch.float32 if parameter.requires_grad else parameter.dtype
                    empty = torch.empty(parameter.shape, dtype=dtype)
                    made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
            setattr(module, name, made[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
        if isinstance(module, nn.Linear) and not module.weight.is_floating_point():
            cast("Any", module).compute_dtype = dtype_of(settings.compute_dtype)
            if id(module) not in adapted:
                module.__class__ = Unpacking


class Unpacking(nn.Linear):
    """A linear layer whose weight is packed and stays so between its forward and its backward pass."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that torch gave it)
        return cast("Tensor", _Product.apply(input, self))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Linear) -> Tensor:  # type: ignore[override]
        ctx.layer, ctx.dtype = layer, x.dtype
        weight = dequantized(layer)
        return linear(x.to(weight.dtype), weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight = dequantized(ctx.layer)
        return (grad.to(weight.dtype) @ weight).to(ctx.dtype), None


def _packed(shape: torch.Size, settings: ModelConfig) -> nn.Parameter:
    """A weight as bitsandbytes holds it."""
    count = shape.numel()
    if settings.quantization is Quantization.INT8:
        weight = nn.Parameter(torch.empty(shape, dtype=torch.int8), requires_grad=False)
        weight.SCB = torch.empty(shape[0])  # type: ignore[attr-defined]
        return weight
    blocks = -(-count // settings.blocksize)
    weight = nn.Parameter(torch.empty((count + 1) // 2, 1, dtype=torch.uint8), requires_grad=False)
    second: Any = None
    if settings.double_quant:
        second = QuantState(torch.empty(-(-blocks // 256)), code=torch.empty(256), blocksize=256, dtype=torch.float32)
    weight.quant_state = QuantState(  # type: ignore[attr-defined]
        torch.empty(blocks, dtype=torch.uint8) if second is not None else torch.empty(blocks),
        shape=shape,
        code=torch.empty(16),
        blocksize=settings.blocksize,
        quant_type=settings.quantization.value,
        dtype=dtype_of(settings.compute_dtype),
        offset=torch.empty(()) if second is not None else None,
        state2=second,
    )
    return weight
