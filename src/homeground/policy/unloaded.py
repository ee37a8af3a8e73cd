"""A policy without weights: built from a configuration alone, for the memory plan."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from bitsandbytes.functional import QuantState
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from homeground.policy import attention
from homeground.policy.fused import fuse
from homeground.policy.load import checkpoint_layers, keep_residual_stream
from homeground.policy.quantize import dequantized
from homeground.policy.shells import lora_layers
from homeground.policy.targets import targeted, whole_modules


@dataclass(frozen=True)
class Storage:
    """How a policy's numbers are held.

    Attributes:
        quantization: of the frozen linear layers: nf4, fp4, int8 or none.
        double_quant, blocksize: of 4-bit weights.
        dtype: of everything else that is frozen, and of all products.
        rank: of the adapter.
        targets: its layers, a strategy or names.
        dora: each adapted row has a length of its own.
        trained_whole: modules that are trained themselves.
        checkpointing: layers are computed again in the backward pass.
    """

    quantization: str = "nf4"
    double_quant: bool = True
    blocksize: int = 64
    dtype: torch.dtype = torch.bfloat16
    rank: int = 16
    targets: str | Sequence[str] = "all-linear"
    dora: bool = False
    trained_whole: Sequence[str] = ()
    checkpointing: bool = False


def first_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """The configuration with fewer layers; what it lists layer by layer is cut too."""
    cut = copy.deepcopy(config)
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == config.num_hidden_layers:
            setattr(cut, name, value[:layers])
    cut.num_hidden_layers = layers
    return cut


def outline(config: PretrainedConfig, storage: Storage) -> PeftModel:
    """The policy on the meta device, fused and hooked as a loaded one; weights not yet packed."""
    attention.register()
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(
            config, dtype=storage.dtype, attn_implementation=attention.IMPLEMENTATION, trust_remote_code=False
        )
    assert isinstance(base, PreTrainedModel)
    base.config.use_cache = False
    names = targeted(base, storage.targets)
    lora = LoraConfig(
        r=storage.rank,
        target_modules=names,
        modules_to_save=whole_modules(base, storage.trained_whole, names) or None,
        use_dora=storage.dora,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        peft = cast("PeftModel", get_peft_model(base, lora, low_cpu_mem_usage=True))
    for layer in lora_layers(peft).values():
        layer.cast_input_dtype_enabled = storage.dtype is torch.float32
    peft.eval()
    model = cast("PreTrainedModel", peft.get_base_model())
    fuse(model)
    if storage.dtype is not torch.float32:
        keep_residual_stream(model, storage.dtype)
    if storage.checkpointing:
        checkpoint_layers(model)
    return peft


def give_shapes(peft: PeftModel, storage: Storage) -> None:
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
        linear = type(module) is nn.Linear and module is not head and storage.quantization != "none"
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:
                if linear and name == "weight" and not parameter.requires_grad and id(parameter) not in adapters:
                    made[id(parameter)] = _packed(parameter.shape, storage)
                else:
                    dtype = torch.float32 if parameter.requires_grad else parameter.dtype
                    empty = torch.empty(parameter.shape, dtype=dtype)
                    made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
            setattr(module, name, made[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
        if isinstance(module, nn.Linear) and not module.weight.is_floating_point():
            cast("Any", module).compute_dtype = storage.dtype
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


def _packed(shape: torch.Size, storage: Storage) -> nn.Parameter:
    """A weight as bitsandbytes holds it."""
    count = shape.numel()
    if storage.quantization == "int8":
        weight = nn.Parameter(torch.empty(shape, dtype=torch.int8), requires_grad=False)
        weight.SCB = torch.empty(shape[0])  # type: ignore[attr-defined]
        return weight
    blocks = -(-count // storage.blocksize)
    weight = nn.Parameter(torch.empty((count + 1) // 2, 1, dtype=torch.uint8), requires_grad=False)
    second: Any = None
    if storage.double_quant:
        second = QuantState(torch.empty(-(-blocks // 256)), code=torch.empty(256), blocksize=256, dtype=torch.float32)
    weight.quant_state = QuantState(  # type: ignore[attr-defined]
        torch.empty(blocks, dtype=torch.uint8) if second is not None else torch.empty(blocks),
        shape=shape,
        code=torch.empty(16),
        blocksize=storage.blocksize,
        quant_type=storage.quantization,
        dtype=storage.dtype,
        offset=torch.empty(()) if second is not None else None,
        state2=second,
    )
    return weight
