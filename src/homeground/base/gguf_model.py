"""A GGUF file as a plain model folder: safetensors in bf16, config and tokenizer, as transformers reads them.

Only what can be converted exactly is: Llama-architecture models without RoPE scaling, with a byte-level BPE tokenizer
of a known pre-tokenizer. Anything else is refused rather than converted almost right. Neither torch nor transformers is
needed. What GGUF changed, and this undoes:

- rows of q and k are permuted from (half, pair) to (pair, half) order within each head (as llama.cpp's converter does);
- the digit pre-tokenizer is only named (`tokenizer.ggml.pre`), not stored;
- SmolLM2's file says pad = eos. Padding is masked by id in many places, so an end token would never be learned: pad is
  `<|endoftext|>` (id 0) instead, which the chat format does not use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_json
from homeground.base.gguf_bounds import check_bounds

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from numpy.typing import NDArray

# Part of the cache's name: raise it whenever the written files change.
CONVERTER = 1

_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
# Pre-tokenizers that split digits one by one before GPT-2's pattern.
_DIGITS_THEN_BYTES = {"smollm", "starcoder", "refact", "command-r"}
_PLAIN_BYTES = {"gpt-2", "default"}
_CONTROL, _USER_DEFINED = 3, 4


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model in `file` into the existing, empty `folder`.

    Raises:
        HomegroundError: the file is no GGUF, or holds what cannot be converted exactly.
    """
    import gguf

    try:
        check_bounds(file)
        reader = gguf.GGUFReader(file)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise HomegroundError(
            f"not a readable GGUF file: {error}", where=str(file), hint="download it again, or give another model"
        ) from None
    try:
        _convert(reader, file, folder)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise HomegroundError(
            f"the values in this GGUF file contradict each other: {error}",
            where=str(file),
            hint="download it again, or give another model",
        ) from error


def _convert(reader: gguf.GGUFReader, file: Path, folder: Path) -> None:
    config = _config(reader, file)
    tokenizer, tokenizer_config = _tokenizer(reader, file)
    _write_weights(reader, config, folder / "model.safetensors", file)
    special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    atomic_write_json(folder / "config.json", config)
    atomic_write_json(folder / "generation_config.json", special)
    tokenizer.save(str(folder / "tokenizer.json"))
    atomic_write_json(folder / "tokenizer_config.json", tokenizer_config)
    template = _field(reader, "tokenizer.chat_template")
    if template is not None:
        (folder / "chat_template.jinja").write_text(str(template), encoding="utf-8")


def bf16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of bf16, rounded to nearest even from fp32, as torch rounds. Values must be finite.

    Example: 1.0 (0x3f800000) gives 0x3f80.
    """
    import numpy as np

    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def _config(reader: gguf.GGUFReader, file: Path) -> dict[str, Any]:
    architecture = _field(reader, "general.architecture")
    scaled = [name for name in reader.fields if ".rope.scaling." in name] or [
        tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_")
    ]
    if architecture != "llama" or scaled:
        what = f"the architecture '{architecture}'" if architecture != "llama" else f"scaled RoPE ({scaled[0]})"
        raise _cannot(file, what)
    heads = int(_need(reader, "llama.attention.head_count", file))
    hidden = int(_need(reader, "llama.embedding_length", file))
    theta = float(_field(reader, "llama.rope.freq_base") or 10000.0)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": len(_need(reader, "tokenizer.ggml.tokens", file)),
        "hidden_size": hidden,
        "intermediate_size": int(_need(reader, "llama.feed_forward_length", file)),
        "num_hidden_layers": int(_need(reader, "llama.block_count", file)),
        "num_attention_heads": heads,
        "num_key_value_heads": int(_field(reader, "llama.attention.head_count_kv") or heads),
        "head_dim": int(_field(reader, "llama.rope.dimension_count") or hidden // heads),
        "hidden_act": "silu",
        "max_position_embeddings": int(_need(reader, "llama.context_length", file)),
        "rms_norm_eps": _shortest(_need(reader, "llama.attention.layer_norm_rms_epsilon", file)),
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        **_special_ids(reader, file),
    }


def _special_ids(reader: gguf.GGUFReader, file: Path) -> dict[str, int]:
    bos = int(_need(reader, "tokenizer.ggml.bos_token_id", file))
    eos = int(_need(reader, "tokenizer.ggml.eos_token_id", file))
    pad = _field(reader, "tokenizer.ggml.padding_token_id")
    if pad is None or int(pad) == eos:
        unknown = _field(reader, "tokenizer.ggml.unknown_token_id")
        pad = unknown if unknown is not None and int(unknown) != eos else bos
    return {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": int(pad)}


def _tokenizer(reader: gguf.GGUFReader, file: Path) -> tuple[Any, dict[str, Any]]:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    kind, pre = _field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre") or "default"
    if kind != "gpt2" or pre not in _DIGITS_THEN_BYTES | _PLAIN_BYTES:
        raise _cannot(file, f"the tokenizer '{kind}' with the pre-tokenizer '{pre}'")
    tokens: list[str] = _need(reader, "tokenizer.ggml.tokens", file)
    kinds: list[int] = _need(reader, "tokenizer.ggml.token_type", file)
    pairs: list[str] = _need(reader, "tokenizer.ggml.merges", file)
    merges = [(left, right) for left, _, right in (pair.partition(" ") for pair in pairs)]
    try:
        model = models.BPE({token: i for i, token in enumerate(tokens)}, merges)
    except Exception as error:  # tokenizers raises nothing narrower
        raise HomegroundError(
            f"the tokenizer in this GGUF is broken: {error}", where=str(file), hint="give another file of this model"
        ) from None
    tokenizer = tokenizers.Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre in _DIGITS_THEN_BYTES:
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    else:
        tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    added = list(zip(tokens, kinds, strict=True))
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token, kind in added if kind == _CONTROL]
    )
    tokenizer.add_tokens(
        [tokenizers.AddedToken(token, normalized=False) for token, kind in added if kind == _USER_DEFINED]
    )
    ids = _special_ids(reader, file)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": int(_need(reader, "llama.context_length", file)),
        "clean_up_tokenization_spaces": False,
        "bos_token": tokens[ids["bos_token_id"]],
        "eos_token": tokens[ids["eos_token_id"]],
        "pad_token": tokens[ids["pad_token_id"]],
    }
    unknown = _field(reader, "tokenizer.ggml.unknown_token_id")
    if unknown is not None:
        config["unk_token"] = tokens[int(unknown)]
    return tokenizer, config


def _write_weights(reader: gguf.GGUFReader, config: dict[str, Any], path: Path, file: Path) -> None:
    import gguf
    import numpy as np
    from safetensors import TensorSpec, serialize_file

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors: dict[str, NDArray[np.uint16]] = {}
    for tensor in reader.tensors:
        layer = _LAYER.fullmatch(tensor.name)
        part = layer[2] if layer else ""
        if layer and part in _LAYER_NAMES:
            name = f"model.layers.{layer[1]}.{_LAYER_NAMES[part]}.weight"
        elif tensor.name in _NAMES:
            name = _NAMES[tensor.name]
        else:
            raise _cannot(file, f"the tensor '{tensor.name}'")
        values = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if part in heads:
            values = _unpermute(values, heads[part])
        if not np.isfinite(values).all():
            raise HomegroundError(
                f"the tensor '{tensor.name}' has values that are not finite", where=str(file), hint="download it again"
            )
        tensors[name] = bf16_bits(np.ascontiguousarray(values))
    # numpy has no bf16: the bits go out under that name. The specs point into `tensors`, which outlives the call.
    specs = {
        name: TensorSpec(dtype="bfloat16", shape=bits.shape, data_ptr=bits.ctypes.data, data_len=bits.nbytes)
        for name, bits in tensors.items()
    }
    serialize_file(specs, str(path), {"format": "pt"})


def _unpermute(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of q or k, shape (heads * head_dim, in), from llama.cpp's order back to transformers'.

    Example: one head of dim 4 is stored as rows 0 2 1 3 (pairs for adjacent rotation) and comes back as 0 1 2 3.
    """
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _shortest(value: float) -> float:
    """The shortest decimal that is the same fp32 number: 9.999999747378752e-06 gives 1e-05."""
    import numpy as np

    return float(str(np.float32(value)))


def _field(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.fields.get(name)
    return None if field is None else field.contents()


def _need(reader: gguf.GGUFReader, name: str, file: Path) -> Any:
    value = _field(reader, name)
    if value is None:
        raise HomegroundError(f"the GGUF file has no '{name}'", where=str(file), hint="give a complete GGUF file")
    return value


def _cannot(file: Path, what: str) -> HomegroundError:
    return HomegroundError(
        f"cannot convert this GGUF exactly: it has {what}",
        where=str(file),
        hint="give the model's safetensors release instead: a local folder or a hub id",
    )
