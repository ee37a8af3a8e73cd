"""Tiny random models of the families whose exactness is promised, and the strategy that each must get."""

from dataclasses import dataclass

from transformers import (
    BambaConfig,
    BloomConfig,
    CohereConfig,
    FalconConfig,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    JambaConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3NextConfig,
    StableLmConfig,
)

from homeground.policy import LoraConfig, Strategy

TOKENS = {"vocab_size": 266, "bos_token_id": 263, "eos_token_id": 264, "pad_token_id": 262}
WIDTH = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "initializer_range": 0.1}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
TINY = TOKENS | WIDTH | HEADS
DELTA = {
    "head_dim": 16, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "num_hidden_layers": 3,
}  # fmt: skip
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_expand": 1, "mamba_d_state": 8, "mamba_chunk_size": 4}
SMALL = LoraConfig(r=4, alpha=8)
PROJECTIONS = LoraConfig(r=4, alpha=8, targets=["q_proj", "v_proj", "in_proj", "down_proj"])
"""PEFT refuses the other layers of models with Mamba blocks."""


@dataclass(frozen=True)
class Family:
    config: PretrainedConfig
    strategy: Strategy = Strategy.FOREST
    lora: LoraConfig = SMALL


FAMILIES = {
    "Llama": Family(LlamaConfig(**TINY)),
    "Qwen 2": Family(Qwen2Config(**TINY)),
    "Qwen 3": Family(Qwen3Config(**TINY, head_dim=16)),
    "Mistral with a window": Family(MistralConfig(**TINY, sliding_window=4)),
    "Gemma 2 with soft caps and a window": Family(Gemma2Config(
        **TINY, head_dim=16, sliding_window=4, attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
        query_pre_attn_scalar=16,
    )),
    "Gemma 3 with a window": Family(Gemma3TextConfig(
        **TINY, head_dim=16, sliding_window=4, layer_types=["sliding_attention", "full_attention"],
    )),
    "Phi 3": Family(Phi3Config(**TINY)),
    "GPT-NeoX": Family(GPTNeoXConfig(**TINY)),
    "OLMo 2": Family(Olmo2Config(**TINY)),
    "Cohere with a logit scale": Family(CohereConfig(**TINY, logit_scale=0.3)),
    "Granite with scaled logits": Family(GraniteConfig(**TINY, logits_scaling=3.0, attention_multiplier=0.2)),
    "GPT-2, whose linear layers are transposed": Family(GPT2Config(
        **TOKENS, n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=0.1,
    )),
    "OPT": Family(OPTConfig(
        **TOKENS, hidden_size=64, ffn_dim=96, word_embed_proj_dim=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, init_std=0.1,
    )),
    "GPT-J": Family(GPTJConfig(
        **TOKENS, n_embd=64, n_layer=2, n_head=4, n_positions=256, rotary_dim=8, initializer_range=0.1,
    ), Strategy.FORK),
    "GPT-Neo with a window": Family(GPTNeoConfig(
        **TOKENS, hidden_size=64, num_layers=2, num_heads=4, max_position_embeddings=256, window_size=4,
        attention_types=[[["global", "local"], 1]], initializer_range=0.1,
    ), Strategy.FORK),
    "MPT": Family(MptConfig(
        **TOKENS, d_model=64, n_layers=2, n_heads=4, max_seq_len=256, initializer_range=0.1,
    ), Strategy.FORK),
    "Falcon, whose attention is its own": Family(FalconConfig(**TINY), Strategy.FORK),
    "BLOOM, whose positions have no limit": Family(BloomConfig(
        **TOKENS, hidden_size=64, n_layer=2, n_head=4, initializer_range=0.1,
    ), Strategy.FORK),
    "StableLM, which drops keywords": Family(StableLmConfig(**TINY), Strategy.FORK),
    "Qwen 2 MoE, whose layers keep their window to themselves": Family(
        Qwen2MoeConfig(
            **TINY, moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=4,
            use_sliding_window=True, sliding_window=4, max_window_layers=1, mlp_only_layers=[0, 1],
        ),
        Strategy.FORK,
    ),
    "Qwen 3 Next": Family(
        Qwen3NextConfig(
            **TINY | DELTA, moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=4,
            num_experts_per_tok=2,
        ),
        Strategy.FORK,
    ),
    "Qwen 3.5": Family(Qwen3_5TextConfig(**TINY | DELTA), Strategy.FORK),
    "LFM 2": Family(Lfm2Config(**TINY, layer_types=["conv", "full_attention"]), Strategy.FORK),
    "Bamba": Family(BambaConfig(**TINY, **MAMBA, attn_layer_indices=[1]), Strategy.FORK, PROJECTIONS),
    "Falcon H1 with a logit scale": Family(
        FalconH1Config(**TINY, **MAMBA, mamba_d_ssm=64, lm_head_multiplier=0.5), Strategy.FORK, PROJECTIONS
    ),
    "Jamba, whose scan takes no state": Family(
        JambaConfig(
            **TINY, num_experts=2, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=3, mamba_d_state=8,
            use_mamba_kernels=False,
        ),
        Strategy.ROWS, PROJECTIONS,
    ),
}  # fmt: skip
