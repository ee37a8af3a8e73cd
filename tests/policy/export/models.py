"""Tiny models of the families that go into GGUF, with random weights and tokenizers of both kinds."""

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from .. import templates, tiny

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_MERGES = ["de", "def", "re", "th", "the", "▁a", "er", "in", "▁th", "▁the", "12", "34", "1234", "\n\n"]


def halves(token):
    """Every way to cut a token in two."""
    return [(token[:cut], token[cut:]) for cut in range(1, len(token))]


def byte_level(pre_tokenizer=None, *, ignore_merges=False, merges=("12", "123", "34", "Ġx")):
    """Bytes and a few merges that show where digits are cut."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(token[:-1], token[-1]) for token in merges]
    core = Tokenizer(BPE({t: i for i, t in enumerate([*letters, *merges])}, pairs, ignore_merges=ignore_merges))
    core.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tiny.SPECIAL])
    core.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=tiny.CHATML,
        clean_up_tokenization_spaces=False,
    )


def split(pattern):
    """A pattern's pieces as bytes."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


def sentencepiece(*, prefix, begins="<s>", ends="</s>", marks=(), template=None):
    """A BPE with bytes to fall back on, spaces as U+2581, and a mark of the beginning before every text."""
    letters = [chr(c) for c in range(33, 127)] + ["▁", "\n", "é"]
    pieces = ["<unk>", begins, ends, *(f"<0x{b:02X}>" for b in range(256)), *letters, *_MERGES]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    pairs = [pair for token in _MERGES for pair in halves(token) if pair[0] in vocabulary and pair[1] in vocabulary]
    core = Tokenizer(BPE(vocabulary, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", begins, ends, *marks)])
    core.post_processor = processors.TemplateProcessing(
        single=f"{begins} $A", special_tokens=[(begins, vocabulary[begins])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=begins,
        eos_token=ends,
        unk_token="<unk>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def mistral():
    return sentencepiece(prefix=True, marks=("[INST]", "[/INST]"), template=templates.MISTRAL)


def gemma():
    marks = ("<start_of_turn>", "<end_of_turn>")
    return sentencepiece(prefix=False, begins="<bos>", ends="<eos>", marks=marks, template=templates.GEMMA)


_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
}
_LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GEMMA_3_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}
FAMILIES = {
    "llama": (LlamaConfig, {"tie_word_embeddings": True}, byte_level),
    "llama 3": (
        LlamaConfig,
        {"rope_parameters": _LLAMA_3_ROPE, "attention_bias": True},
        lambda: byte_level(split(LLAMA_3), ignore_merges=True),
    ),
    "mistral": (MistralConfig, {"sliding_window": None, "head_dim": 32}, mistral),
    "qwen2": (Qwen2Config, {"tie_word_embeddings": True}, lambda: byte_level(split(QWEN))),
    "qwen3": (Qwen3Config, {"head_dim": 32}, lambda: byte_level(split(QWEN))),
    "gemma": (GemmaConfig, {"head_dim": 32}, gemma),
    "gemma2": (Gemma2Config, {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}, gemma),
    "gemma3": (
        Gemma3TextConfig,
        {
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 16,
            "num_hidden_layers": 7,
            "rope_parameters": _GEMMA_3_ROPE,
        },
        gemma,
    ),
}


def build(folder, family, **changes):
    """Save a model of a family with its tokenizer, biases and norms away from what they begin with."""
    kind, fields, make = FAMILIES[family]
    made = make()
    ids = {f"{name}_token_id": getattr(made, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        kind(**{**_SIZES, "vocab_size": len(made) + 3, **ids, **fields, **changes}), dtype=torch.float32
    )
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
