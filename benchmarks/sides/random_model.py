"""Policies of random weights, built from a configuration alone: no file, no network.

A large model is never whole in 16 bits: each linear layer is made, filled and packed to NF4 before the next one.
"""

from __future__ import annotations

from typing import cast

import torch
from accelerate import init_empty_weights
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.sides.workload import LORA_ALPHA, LORA_R
from homeground.policy import Policy, Quantization, attention
from homeground.policy.originals import LoadedWeights
from homeground.policy.quantize import keep_trainable
from homeground.policy.shells import lora_layers


def random_base(config: PretrainedConfig, device: str, quantization: Quantization, attend: str) -> PreTrainedModel:
    """A model of a configuration, bf16, its body's linear layers packed if asked for.

    Args:
        config: any causal language model's.
        device: where it is built and lies.
        quantization: NF4 packs every linear layer but the output head, as loading a checkpoint would.
        attend: an attention implementation.
    """
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attend)
    assert isinstance(model, PreTrainedModel)
    head = model.get_output_embeddings()
    generator = torch.Generator(device).manual_seed(0)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and module is not head and quantization is Quantization.NF4:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _packed(module, device, generator))
        else:
            _fill(module, device, generator)
    model.tie_weights()
    model.to(device)  # buffers, rotary frequencies among them
    model.requires_grad_(False)
    if quantization is Quantization.NF4:
        # What PEFT looks at to choose its 4-bit layers.
        model.is_loaded_in_4bit = True  # type: ignore[attr-defined]
        keep_trainable(model, torch.bfloat16)
    model.config.use_cache = False
    return model.eval()


def random_policy(
    config: PretrainedConfig, device: str, quantization: Quantization = Quantization.NF4, *, checkpointing: bool = False
) -> Policy:
    """A policy that can be trained on ready-made token ids; it has no tokenizer."""
    attention.register()
    base = random_base(config, device, quantization, attention.IMPLEMENTATION)
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    originals = LoadedWeights(base)
    torch.manual_seed(0)
    lora = LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    peft = get_peft_model(base, lora)
    assert isinstance(peft, PeftModel)
    for layer in lora_layers(peft).values():
        layer.cast_input_dtype_enabled = False
    # transformers checkpoints only in training mode; these models have no dropout that the mode would switch on.
    peft.train(checkpointing)
    nowhere = cast(PreTrainedTokenizerBase, None)
    return Policy("random", peft, nowhere, torch.bfloat16, quantization, originals)


def _packed(layer: nn.Linear, device: str, generator: torch.Generator) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    packed = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=torch.bfloat16,
        quant_type="nf4",
        device="meta",
    )
    weight = _random(layer.weight.shape, device, generator)
    packed.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", module=packed).to(device)
    if layer.bias is not None:
        packed.bias = nn.Parameter(_random(layer.bias.shape, device, generator), requires_grad=False)
    return packed


def _fill(module: nn.Module, device: str, generator: torch.Generator) -> None:
    """Give a module's own parameters values: matrices are random, a normalisation's weights are one."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        if parameter.is_meta:
            shape = parameter.shape
            value = (
                _random(shape, device, generator)
                if len(shape) > 1 or name == "bias"
                else torch.ones(shape, dtype=torch.bfloat16, device=device)
            )
            setattr(module, name, nn.Parameter(value, requires_grad=False))


def _random(shape: torch.Size, device: str, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(std=0.02, generator=generator)
