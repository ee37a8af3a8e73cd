"""Folders that others load: an adapter for PEFT, a merged model (sharded safetensors, tokenizer) for transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from homeground.base.errors import UsageError
from homeground.base.files import atomic_write_json, read_json
from homeground.policy.adapters import RECORD
from homeground.policy.chat import end_token
from homeground.policy.export.weights import MergedWeights

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"


def write_adapter(adapter: Path, folder: Path, base: str) -> None:
    """Copy an adapter into an existing folder.

    Args:
        adapter: folder in PEFT's format.
        base: the model's name, as others know it.
    """
    config: dict[str, Any] = read_json(adapter / _CONFIG)
    atomic_write_json(folder / _CONFIG, {**config, "base_model_name_or_path": base})
    shutil.copyfile(adapter / _TENSORS, folder / _TENSORS)
    if (adapter / RECORD).is_file():
        # By this Homeground knows the base again.
        record: dict[str, Any] = read_json(adapter / RECORD)
        atomic_write_json(folder / RECORD, {**record, "base": {**record["base"], "name": base}})


_TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "*.model",
    "*.tiktoken",
)


def write_merged(
    weights: MergedWeights,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    shard_size: str = "5GB",
    on_tensor: Callable[[], None] = lambda: None,
) -> None:
    """Write a merged model into an existing folder.

    Each tensor is stored as the base stores it: bf16 stays bf16. The tokenizer's files are the base's, byte for byte.

    Args:
        shard_size: of one safetensors file at most, such as "500MB"; that much memory is needed.
        on_tensor: called after each tensor.

    Raises:
        UsageError: the shard size is none.
    """
    shapes = {
        name: torch.empty(weights.shape(name), dtype=weights.dtype(name), device="meta") for name in weights.names
    }
    try:
        plan = split_torch_state_dict_into_shards(shapes, max_shard_size=shard_size)
    except ValueError as error:
        raise UsageError(
            f"not a size of a file: {shard_size!r}", where="--shard-size", hint="write it like 500MB or 5GB"
        ) from error
    for file, names in plan.filename_to_tensors.items():
        shard: dict[str, Tensor] = {}
        for name in names:
            shard[name] = weights.tensor(name).to(shapes[name].dtype).contiguous()
            on_tensor()
        save_file(shard, folder / file, {"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        atomic_write_json(folder / "model.safetensors.index.json", index)
    weights.config.save_pretrained(str(folder))
    generation_config(weights.base, tokenizer).save_pretrained(str(folder))
    copy_tokenizer(weights.base, folder)


def generation_config(base: Path, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """The base's, and what it was trained to end a turn with among its end tokens."""
    try:
        config = GenerationConfig.from_pretrained(str(base))
    except OSError:
        config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ends = end_tokens(tokenizer, config)
    config.eos_token_id = ends if len(ends) > 1 else ends[0] if ends else None
    return config


def end_tokens(tokenizer: PreTrainedTokenizerBase, config: GenerationConfig) -> list[int]:
    """Every token at which an answer is over: the template's end of a turn first, then the base's end tokens."""
    known: int | list[int] | None = config.eos_token_id
    ends = [*known] if isinstance(known, list) else [] if known is None else [known]
    if tokenizer.chat_template:
        ends.insert(0, end_token(tokenizer))
    return list(dict.fromkeys(ends))


def copy_tokenizer(base: Path, folder: Path) -> None:
    """The tokenizer's files of one folder into another."""
    for pattern in _TOKENIZER_FILES:
        for file in base.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    if (base / "additional_chat_templates").is_dir():
        shutil.copytree(base / "additional_chat_templates", folder / "additional_chat_templates")
