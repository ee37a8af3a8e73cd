"""What plain rows cost each family of models that does not need them: forest or forked states against rows.

Run as ``make bench-strategies``. Models of one shape with random weights, float32, all parameters trained; one group of
8 answers of 64 tokens to a prompt of 512; forward and backward, median of three after one that is dropped. Both sides
compute the same log-probabilities, which is checked first. Writes ``benchmarks/results/strategies.json``.

Rows compute 8 x 576 = 4608 tokens, the other two 512 + 8 x 64 = 1024: 4.5 times fewer. The targets, fixed before any
run: a forest at least 3 times faster than rows, forked states at least 2 times.
"""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    JambaConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3NextConfig,
    StableLmConfig,
)

from benchmarks.sides import results
from homeground.policy import Strategy, TokenForest, TokenPath, attention, row_logprobs
from homeground.policy.probe import prepare
from homeground.policy.strategy import logprobs

PROMPT, ANSWER, GROUP = 512, 64, 8
TARGETS = {Strategy.FOREST: 3.0, Strategy.FORK: 2.0, Strategy.ROWS: 1.0}
SHAPE = {
    "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
DELTA = {
    "head_dim": 32, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 4,
    "linear_num_value_heads": 8, "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}  # fmt: skip
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 32, "mamba_expand": 1, "mamba_d_state": 32, "mamba_chunk_size": 64}
FAMILIES: dict[str, PretrainedConfig] = {
    "Llama": LlamaConfig(**SHAPE),
    "Qwen 3": Qwen3Config(**SHAPE, head_dim=32),
    "Phi 3": Phi3Config(**SHAPE),
    "Mistral, window 256": MistralConfig(**SHAPE, sliding_window=256),
    "Gemma 3, window 256": Gemma3TextConfig(
        **SHAPE, head_dim=32, sliding_window=256, layer_types=["sliding_attention"] * 3 + ["full_attention"]
    ),
    "Gemma 2, window 256": Gemma2Config(**SHAPE, head_dim=32, sliding_window=256, query_pre_attn_scalar=32),
    "StableLM": StableLmConfig(**SHAPE),
    "Qwen 3.5": Qwen3_5TextConfig(**SHAPE | DELTA),
    "Qwen 3 Next": Qwen3NextConfig(
        **SHAPE | DELTA, moe_intermediate_size=128, shared_expert_intermediate_size=128, num_experts=8,
        num_experts_per_tok=2,
    ),
    "LFM 2": Lfm2Config(**SHAPE, layer_types=["conv", "conv", "conv", "full_attention"]),
    "Bamba": BambaConfig(**SHAPE, **MAMBA, attn_layer_indices=[3]),
    "Falcon H1": FalconH1Config(**SHAPE, **MAMBA, mamba_d_ssm=256),
    "Jamba": JambaConfig(**SHAPE, num_experts=2, attn_layer_period=4, attn_layer_offset=3, use_mamba_kernels=False),
}  # fmt: skip


def main() -> None:
    """Measure every family, print and write what came out."""
    torch.set_num_threads(2)
    rows = [measure(name, config) for name, config in FAMILIES.items()]
    results.write("strategies", rows, {})
    results.print_table(rows)


def measure(name: str, config: PretrainedConfig) -> dict[str, Any]:
    """One family's row of the results."""
    attention.register()
    torch.manual_seed(0)
    model = build(config, attention.IMPLEMENTATION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strategy = prepare(model, name)
    paths = group()
    forest = TokenForest.build(paths)
    # The peer: the model as its authors wrote it.
    rows_model = build(config, "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa")
    rows_model.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            logprobs(model, forest, 1.0, strategy), row_logprobs(rows_model, paths), rtol=1e-3, atol=1e-3
        )
    theirs = seconds(lambda: row_logprobs(rows_model, paths))
    ours = theirs if strategy is Strategy.ROWS else seconds(lambda: logprobs(model, forest, 1.0, strategy))
    metric = f"forward and backward, {strategy}"
    return results.smaller(name, metric, "s", ours, theirs, "plain rows", TARGETS[strategy])


def build(config: PretrainedConfig, implementation: str) -> PreTrainedModel:
    """A model of random weights."""
    own = copy.deepcopy(config)
    return AutoModelForCausalLM.from_config(own, dtype=torch.float32, attn_implementation=implementation).eval()


def group() -> list[TokenPath]:
    """Eight answers to one prompt."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, SHAPE["vocab_size"], (PROMPT + GROUP * ANSWER,), generator=generator).tolist()
    answers = [ids[start : start + ANSWER] for start in range(PROMPT, len(ids), ANSWER)]
    return [TokenPath(ids[:PROMPT] + answer, range(PROMPT, PROMPT + ANSWER)) for answer in answers]


def seconds(compute: Any) -> float:
    """Median time of a forward and backward."""
    times: list[float] = []
    for _ in range(4):
        began = time.perf_counter()
        compute().sum().backward()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
