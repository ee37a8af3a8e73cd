"""A merged model as one GGUF file, for llama.cpp and what is built on it.

Matrices are stored as f32, f16, bf16 or q8_0 (blocks of 32 with one f16 scale each); norms and biases stay f32. What a
family's reader expects otherwise than transformers stores it:

- rows of q and k go from (half, pair) to (pair, half) order within each head, where rotary embeddings turn neighbours;
- Gemma's norms hold 1 + weight;
- tied embeddings are written once;
- Llama 3's rotary scaling is a tensor of factors.

Other types are made from an f16 file by llama.cpp's own ``llama-quantize``, where it is on the PATH.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError, UsageError
from homeground.policy.export.gguf_config import Family, family_of, head_size, rope_factors, write_config
from homeground.policy.export.gguf_tokenizer import GgufTokenizer, gguf_tokenizer
from homeground.policy.export.weights import MergedWeights

QUANTIZER = "llama-quantize"


class GgufType(StrEnum):
    """How matrices are stored, of those written here."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"


_TYPES = {
    GgufType.F32: (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    GgufType.F16: (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    GgufType.BF16: (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    GgufType.Q8_0: (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_BITS = {GgufType.F32: 32.0, GgufType.F16: 16.0, GgufType.BF16: 16.0, GgufType.Q8_0: 8.5}


def check_type(kind: str) -> None:
    """Refuse a type that nothing here can make.

    Raises:
        UsageError: it is none of ours, and llama.cpp's quantizer is not there to make it.
    """
    if kind in _TYPES or shutil.which(QUANTIZER):
        return
    raise UsageError(
        f"the type '{kind}' is made by llama.cpp's {QUANTIZER}, which is not on the PATH",
        where="--type",
        hint=f"install llama.cpp, or choose one of {', '.join(GgufType)}",
    )


def gguf_bytes(weights: MergedWeights, kind: str) -> int:
    """About how large the file will be; while another type is made, an f16 file stands beside it."""
    values = sum(int(np.prod(weights.shape(name))) for name in weights.names)
    ours = GgufType(kind) if kind in _TYPES else None
    bits = _BITS[ours] if ours else _BITS[GgufType.F16] + _BITS[GgufType.Q8_0]
    return int(values * bits / 8) + (16 << 20)


def write_gguf(
    weights: MergedWeights,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    kind: str = GgufType.F16,
    name: str = "",
    on_tensor: Callable[[], None] = lambda: None,
) -> GgufTokenizer:
    """Write a GGUF file.

    Args:
        kind: a :class:`GgufType`, or a type that llama.cpp's quantizer knows.
        name: of the model, as readers show it.
        on_tensor: called after each tensor.

    Returns:
        The tokenizer as it went in.

    Raises:
        HomegroundError: the family, a setting or the tokenizer cannot be written exactly; a value overflows f16.
        UsageError: the type is unknown.
    """
    check_type(kind)
    if kind not in _TYPES:
        plain = path.with_suffix(".f16.gguf")
        made = write_gguf(weights, tokenizer, plain, GgufType.F16, name, on_tensor)
        _quantize(plain, path, kind)
        plain.unlink()
        return made
    family = family_of(weights.config)
    made = gguf_tokenizer(tokenizer, weights.config.vocab_size)
    storage, file_type = _TYPES[GgufType(kind)]
    writer = gguf.GGUFWriter(path, family.arch)
    writer.add_name(name or path.stem)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    write_config(writer, weights.config, family)
    made.write(writer)
    _write_tensors(writer, weights, family, storage, on_tensor)
    writer.close()
    return made


def _write_tensors(
    writer: gguf.GGUFWriter,
    weights: MergedWeights,
    family: Family,
    storage: gguf.GGMLQuantizationType,
    on_tensor: Callable[[], None],
) -> None:
    """Names and sizes of all tensors first, then their values one by one: memory holds one at a time."""
    names = _names(weights, family)
    kinds = {name: _kind(weights.shape(name), storage) for name in weights.names}
    factors = rope_factors(weights.config)
    if factors is not None:
        _announce(writer, "rope_freqs.weight", tuple(factors.shape), gguf.GGMLQuantizationType.F32)
    for name in weights.names:
        _announce(writer, names[name], weights.shape(name), kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors.float().numpy())
    for name in weights.names:
        values = _as_read(name, weights.tensor(name).float(), weights, family)
        writer.write_tensor_data(_stored(name, values, kinds[name]))
        on_tensor()


def _names(weights: MergedWeights, family: Family) -> dict[str, str]:
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    known = gguf.get_tensor_name_map(arch, weights.config.num_hidden_layers)
    names: dict[str, str] = {}
    for name in weights.names:
        path, _, part = name.rpartition(".")
        found = known.get_name(path)
        if found is None:
            raise HomegroundError(
                f"GGUF has no place for the tensor '{name}' in models of the family '{family.arch}'",
                where=str(weights.base),
                hint="export it as 'merged'",
            )
        names[name] = f"{found}.{part}"
    return names


def _kind(shape: tuple[int, ...], storage: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    if len(shape) < 2:
        return gguf.GGMLQuantizationType.F32
    if storage is gguf.GGMLQuantizationType.Q8_0 and shape[-1] % gguf.GGML_QUANT_SIZES[storage][0]:
        return gguf.GGMLQuantizationType.F16
    return storage


def _announce(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> None:
    """A tensor's name, shape and type; its bytes follow later. A quantized one goes by the shape of its bytes."""
    size, dtype = int(np.prod(shape)), np.dtype(np.float16)
    if kind is gguf.GGMLQuantizationType.F32:
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size * 4)
    elif kind is gguf.GGMLQuantizationType.F16:
        writer.add_tensor_info(name, shape, dtype, size * 2)
    else:
        stored = gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)


def _as_read(name: str, values: Tensor, weights: MergedWeights, family: Family) -> Tensor:
    """A tensor as the family's reader expects it."""
    config = weights.config
    if family.norms_add_one and name.endswith("norm.weight"):
        return values + 1
    if family.permutes and (".q_proj." in name or ".k_proj." in name):
        return interleaved(values, values.shape[0] // head_size(config))
    return values


def interleaved(rows: Tensor, heads: int) -> Tensor:
    """Rows of q or k, shape (heads * head_dim, ...), with those that a rotary embedding turns together as neighbours.

    Example: one head of dim 4, rows 0 1 2 3 (0 turns with 2, 1 with 3), comes out as 0 2 1 3.
    """
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _stored(name: str, values: Tensor, kind: gguf.GGMLQuantizationType) -> np.ndarray[Any, Any]:
    if kind is gguf.GGMLQuantizationType.F16:
        half = values.to(torch.float16)
        if not torch.isfinite(half).all():
            raise HomegroundError(
                f"the tensor '{name}' has values that f16 cannot hold",
                where=f"largest: {float(values.abs().max()):.4g}, f16 ends at 65504",
                hint="export with --type bf16",
            )
        return half.numpy()
    array = values.contiguous().numpy()
    return array if kind is gguf.GGMLQuantizationType.F32 else gguf.quantize(array, kind)


def _quantize(plain: Path, path: Path, kind: str) -> None:
    program = shutil.which(QUANTIZER)
    assert program is not None
    done = subprocess.run([program, str(plain), str(path), kind.upper()], capture_output=True, text=True)
    if done.returncode or not path.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise HomegroundError(
            f"{QUANTIZER} failed: {lines[-1] if lines else f'exit code {done.returncode}'}",
            where=f"--type {kind}",
            hint=f"'{QUANTIZER} --help' lists the types it makes",
        )
