"""The frozen base of a policy: configuration, tokenizer and weights, quantized as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.hardware import device_kind, found_device, matmul_rates
from homeground.base.heap import blocks_returned, limit_primitives
from homeground.base.model_files import (
    NAME_A_MODEL,
    loading,
    read_config,
    read_tokenizer,
    refuse_not_finite,
    weight_files,
)
from homeground.base.weights import resolve_model
from homeground.policy import attention
from homeground.policy.config import ModelConfig, Quantization
from homeground.policy.originals import LoadedWeights, Originals, WeightFiles
from homeground.policy.quantize import keep_trainable, quantization_config, quantized_layers, storage_of

RETURNED = 256 << 10
"""Bytes of a block from which on it goes back to the system while weights are read."""
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
"""Values of `model.compute_dtype`."""


@dataclass(frozen=True)
class Base:
    """A causal language model with its tokenizer, without an adapter.

    Attributes:
        name: what the user called it.
        model: frozen, its attention eager.
        tokenizer: with a chat template.
        dtype: of computation, and of parameters that are not quantized.
        quantization: how its linear layers are stored.
        originals: the weights before they were quantized.
        folder: of its files; None of a model that was made in memory.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    quantization: Quantization
    originals: Originals
    folder: Path | None


def dtype_of(compute_dtype: str, device: str = "cpu") -> torch.dtype:
    """The dtype of a setting; `auto` takes bf16 where the device is fast at it (measured), else fp32."""
    if compute_dtype == "auto":
        compute_dtype = "bf16" if matmul_rates(device_kind(device)).bf16_fast else "fp32"
    return DTYPES[compute_dtype]


def load_base(settings: ModelConfig) -> Base:
    """Load a causal language model, prepared for forests by :func:`homeground.policy.probe.prepare`.

    Raises:
        UsageError: a device that is not here.
        HomegroundError: the model cannot be read, or has a weight that is not finite.
    """
    limit_primitives()
    device = found_device(settings.device)
    dtype = dtype_of(settings.compute_dtype, device)
    folder = resolve_model(settings.name)
    attention.register()
    # Our own progress says what happens; the library's bars would draw over it.
    hf_logging.disable_progress_bar()
    config, tokenizer = read_config(folder), read_tokenizer(folder)
    refuse_not_finite(weight_files(folder))
    # Each weight is read, converted and freed again: kept, the holes would stand in memory until the end.
    with loading("the model", folder, NAME_A_MODEL), blocks_returned(at_least=RETURNED):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            quantization_config=quantization_config(settings, dtype),
            # Every architecture supports it; the probe then tests whether forest attention works.
            attn_implementation="eager",
            use_safetensors=True,
            device_map={"": device},
            trust_remote_code=False,
            output_loading_info=True,
        )
    base, info = loaded
    if lacking := sorted(info["missing_keys"]):
        # Transformers would fill them with random numbers, and only log it.
        raise HomegroundError(
            f"this model's files lack {len(lacking)} of its tensors, {lacking[0]} among them",
            where=str(folder),
            hint="fetch the model again, or give another one",
        )
    keep_trainable(base, dtype)
    _own_weights(base)
    base.config.use_cache = False
    return Base(settings.name, base, tokenizer, dtype, settings.quantization, WeightFiles(folder), folder)


def held_base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path | None) -> Base:
    """A base of a model in memory.

    Args:
        model: changed in place by what trains it.
        tokenizer: its own.
        folder: of the same weights on disk.

    Raises:
        UsageError: a dtype that is not trained in.
    """
    limit_primitives()
    table = model.get_input_embeddings().weight
    if not isinstance(table, Tensor) or table.dtype not in DTYPES.values():
        raise UsageError(
            f"this model computes in {getattr(table, 'dtype', None)}, and policies in bfloat16 or float32",
            where="Policy.from_model",
            hint="load it with dtype=torch.bfloat16; model.to would round its rotary frequencies too",
        )
    attention.register()
    model.requires_grad_(False).eval()
    packed = list(quantized_layers(model).values())
    kind = Quantization(storage_of(packed[0])) if packed else Quantization.NONE
    keep_trainable(model, table.dtype)
    model.config.use_cache = False
    originals = WeightFiles(folder) if folder is not None else LoadedWeights(model)
    return Base(model.name_or_path or model.config.model_type, model, tokenizer, table.dtype, kind, originals, folder)


def _own_weights(model: PreTrainedModel) -> None:
    """Copy weights out of the mapped file, which stays resident as a whole while one tensor of it is in use.

    A sampler's shell lays weights out anew; with the file still mapped they would stand in memory twice.
    """
    if model.device.type == "cpu":
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.clone()
