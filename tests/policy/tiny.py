"""Tiny models with random weights and a byte-level tokenizer with a ChatML template, built on the spot."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from homeground.policy import LoraConfig, ModelConfig, Policy, TokenPath
from homeground.policy.fused import Fused

CHATML = (
    "{% for m in messages %}"
    "{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MERGES = [("a", "b"), ("ab", "c"), ("e", "r"), ("t", "h"), ("th", "e"), ("Ġ", "a")]
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|file_sep|>"]


def tokenizer():
    """Bytes, six merges (so that text can be cut in two ways), and four special tokens, one of them without a role."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = letters + [left + right for left, right in MERGES]
    core = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, MERGES))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


def llama_config(**changes):
    """Two layers of width 64, four heads on two key/value heads, tied embeddings."""
    fields = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
        "tie_word_embeddings": True,
        "bos_token_id": 263,
        "eos_token_id": 264,
        "pad_token_id": 262,
    }
    return LlamaConfig(**(fields | changes))


def build(folder: Path, config, seed=0):
    """Save a model of random weights with the tokenizer; the same folder is built once."""
    if not (folder / "config.json").exists():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
    return folder


SMALL_LORA = LoraConfig(r=4, alpha=8)


def settings_of(folder, *, dtype=torch.float32, quantization="none", device="cpu", lora=SMALL_LORA, **more):
    """Settings of a model in a folder."""
    number = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
    return ModelConfig(
        name=str(folder), compute_dtype=number, quantization=quantization, device=device, lora=lora, **more
    )


def policy_of(folder, *, shaken=True, seed=0, **more):
    """Load a policy; ``shaken`` gives its adapter values that matter (a fresh one adds exactly zero)."""
    policy = Policy.load(settings_of(folder, **more), seed=seed)
    if shaken:
        shake(policy)
    return policy


def shake(policy, seed=1, std=0.1):
    """Random values for the B factors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return policy


def plain(policy, attention="eager"):
    """A frozen twin that computes by the code of transformers and PEFT alone: it knows nothing of forests."""
    twin = policy.reference()
    twin.set_attn_implementation(attention)
    return unfused(twin)


def unfused(model):
    """The model itself, each module back in its own class."""
    for module in model.modules():
        if isinstance(module, Fused):
            narrow = getattr(module, "narrow", None)
            module.__class__ = module.plain
            if narrow is not None:
                module.register_forward_hook(lambda _, __, out, dtype=narrow: out.to(dtype))
    return model


def trainable_plain(policy, attention="eager"):
    """The same with gradients on its adapter; returns (model, its adapter's parameters in the policy's order)."""
    twin = plain(policy, attention)
    lora = [p for name, p in twin.named_parameters() if "lora_" in name]
    for parameter in lora:
        parameter.requires_grad_(True)
    return twin, lora


def gradient_of(parameters):
    """All gradients in one vector; a parameter without one counts as zeros."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def random_paths(seed, *, roots=2, depth=3, fan=3, longest=6, vocabulary=256, every_leaf=True):
    """``roots`` trees that fork ``depth - 1`` times into ``fan``; the last two thirds of each path are trained."""
    generator = torch.Generator().manual_seed(seed)

    def run():
        n = int(torch.randint(1, longest + 1, (), generator=generator))
        return torch.randint(0, vocabulary, (n,), generator=generator).tolist()

    paths = []

    def grow(prefix, level):
        if level == depth:
            paths.append(TokenPath(prefix, list(range(max(1, len(prefix) // 3), len(prefix)))))
            return
        for _ in range(fan if level else 1):
            grow(prefix + run(), level + 1)

    for _ in range(roots):
        grow(run(), 0)
    return paths if every_leaf else paths[::2]
