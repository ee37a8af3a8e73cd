"""What a GGUF file says about a model besides its tensors, for the families that can be written exactly.

A reader rebuilds the model from these keys and from what its code holds for the family, so every setting that the keys
cannot say must have the value that readers assume. Where one has not, the model is refused rather than written almost
right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from homeground.base.errors import HomegroundError

if TYPE_CHECKING:
    import gguf


@dataclass(frozen=True)
class Family:
    """How one family of models goes into GGUF.

    Attributes:
        arch: GGUF's name of the architecture.
        permutes: rows of q and k are stored in pairs (half, pair) -> (pair, half) of each head.
        norms_add_one: its norms scale by 1 + weight, and the file holds the sum.
        ties: it has no head of its own.
        act: its activation.
        swa_every: one layer in so many attends in full, the others in a window; 0 for no window.
    """

    arch: str
    permutes: bool = False
    norms_add_one: bool = False
    ties: bool = False
    act: str = "silu"
    swa_every: int = 0


_GELU = "gelu_pytorch_tanh"
FAMILIES = {
    "llama": Family("llama", permutes=True),
    "mistral": Family("llama", permutes=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
    "gemma": Family("gemma", norms_add_one=True, ties=True, act=_GELU),
    "gemma2": Family("gemma2", norms_add_one=True, ties=True, act=_GELU, swa_every=2),
    "gemma3_text": Family("gemma3", norms_add_one=True, act=_GELU, swa_every=6),
}


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a model.

    Raises:
        HomegroundError: it is not known, or this model of it has settings that a file cannot say.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise HomegroundError(
            f"models of the family '{config.model_type}' cannot be written as GGUF yet",
            where=f"families: {', '.join(sorted(FAMILIES))}",
            hint="export it as 'merged', and convert that with llama.cpp's own script",
        )
    for name, value, assumed in _assumptions(config, family):
        if value != assumed:
            raise _cannot(config, f"its {name} is {value}, and readers assume {assumed}")
    return family


def write_config(writer: gguf.GGUFWriter, config: PreTrainedConfig, family: Family) -> None:
    """Add the model's keys."""
    heads = config.num_attention_heads
    head_dim = head_size(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rope = _rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    _write_scaling(writer, config, rope)
    if family.swa_every:
        writer.add_sliding_window(config.sliding_window)
    if family.arch == "gemma3":
        writer.add_rope_freq_base_swa(float(_rope(config, "sliding_attention")["rope_theta"]))
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if cap := getattr(config, name, None):
            getattr(writer, f"add_{name}")(cap)


def head_size(config: PreTrainedConfig) -> int:
    """Width of one head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rope_factors(config: PreTrainedConfig) -> Tensor | None:
    """By what each frequency is divided, shape (head_dim / 2,), where the file must carry it (Llama 3's scaling)."""
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    exponents = torch.arange(0, head_size(config), 2, dtype=torch.int64).float() / head_size(config)
    return (1.0 / rope["rope_theta"] ** exponents) / scaled


def differences(config: PreTrainedConfig) -> list[str]:
    """Where readers compute otherwise, in words, though not on short texts."""
    window = getattr(config, "sliding_window", None)
    if FAMILIES[config.model_type].swa_every or not window:
        return []
    if config.model_type.startswith("qwen") and not config.use_sliding_window:
        return []
    return [f"readers attend to everything; the model, to the last {window} tokens"]


def _rope(config: PreTrainedConfig, kind: str = "full_attention") -> dict[str, Any]:
    """Rotary parameters; some families have one set for each kind of attention."""
    parameters: dict[str, Any] = config.rope_parameters
    return parameters.get(kind, parameters)


def _write_scaling(writer: gguf.GGUFWriter, config: PreTrainedConfig, rope: dict[str, Any]) -> None:
    from gguf import RopeScalingType

    kind = rope.get("rope_type", "default")
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind == "yarn":
        original = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(original))
    elif kind not in ("default", "llama3"):
        raise _cannot(config, f"its rotary embedding is scaled by '{kind}'")


def _assumptions(config: PreTrainedConfig, family: Family) -> list[tuple[str, Any, Any]]:
    """(setting, its value, what readers assume)."""
    act = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    rows: list[tuple[str, Any, Any]] = [
        ("activation", act, family.act),
        ("partial_rotary_factor", _rope(config).get("partial_rotary_factor") or 1.0, 1.0),
    ]
    if family.ties:
        rows.append(("tie_word_embeddings (its head was trained)", bool(config.tie_word_embeddings), True))
    if family.swa_every:
        last = family.swa_every - 1
        kinds = [
            "full_attention" if layer % family.swa_every == last else "sliding_attention"
            for layer in range(config.num_hidden_layers)
        ]
        rows.append(("layer_types", list(config.layer_types), kinds))
        # The largest of each family, by its number of layers, scales by the mean width of a head.
        largest = {"gemma2": 46, "gemma3": 62}[family.arch]
        mean = config.hidden_size // config.num_attention_heads
        width = mean if config.num_hidden_layers == largest else head_size(config)
        rows.append(("query_pre_attn_scalar", config.query_pre_attn_scalar, width))
    return rows


def _cannot(config: PreTrainedConfig, why: str) -> HomegroundError:
    return HomegroundError(
        f"this model cannot be written as GGUF exactly: {why}",
        where=config.name_or_path or config.model_type,
        hint="export it as 'merged', and use it with transformers or vLLM",
    )
