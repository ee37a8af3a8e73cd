"""The frozen base of a policy: configuration, tokenizer and weights, quantized as they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from homeground.base.errors import HomegroundError
from homeground.base.heap import blocks_returned
from homeground.base.model_files import (
    NAME_A_MODEL,
    loading,
    read_config,
    read_tokenizer,
    refuse_not_finite,
    weight_files,
)
from homeground.policy import attention
from homeground.policy.quantize import BLOCKSIZE, Quantization, keep_trainable, quantization_config

RETURNED = 256 << 10
"""Bytes of a block from which on it goes back to the system while weights are read."""


def load_base(
    folder: Path,
    *,
    quantization: Quantization,
    double_quant: bool = True,
    blocksize: int = BLOCKSIZE,
    dtype: torch.dtype,
    device: str = "cpu",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model, prepared for forests by :func:`homeground.policy.probe.prepare`, and its tokenizer.

    Args:
        folder: folder of the model.
        quantization, double_quant, blocksize: see :mod:`homeground.policy.quantize`.
        dtype: dtype of computation, and of parameters that are not quantized.
        device: device of the model.

    Raises:
        UsageError: an impossible blocksize.
        HomegroundError: the model cannot be read, or has a weight that is not finite.
    """
    packing = quantization_config(quantization, dtype, double_quant=double_quant, blocksize=blocksize)
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
            quantization_config=packing,
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
    return base, tokenizer


def _own_weights(model: PreTrainedModel) -> None:
    """Copy weights out of the mapped file, which stays resident as a whole while one tensor of it is in use.

    A sampler's shell lays weights out anew; with the file still mapped they would stand in memory twice.
    """
    if model.device.type == "cpu":
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.clone()
