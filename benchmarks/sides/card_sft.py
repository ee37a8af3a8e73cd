"""Fine-tuning on an NVIDIA card, for ``make bench-gpu``: tokens a second and peak memory over NF4 weights.

An optimizer step is eight rows of random token ids, ragged as examples are: their lengths are drawn between a quarter
of the longest and the longest, and the second half of each is trained. Gradient checkpointing is on, on both sides.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from transformers import PretrainedConfig

from benchmarks.sides import results
from benchmarks.sides.sft import BATCH, DROPPED
from homeground.policy import TokenPath

__all__ = ["DROPPED", "LENGTHS", "fitting", "forget_peak", "ours", "peak_gb", "peer", "rows_of"]

LENGTHS = (2048, 8192)
"""Tokens of the longest row."""
RATE_TARGET, MEMORY_TARGET = 1.5, 1 / 0.7


def drawn_rows(config: PretrainedConfig, longest: int, steps: int) -> list[TokenPath]:
    """Rows of all steps."""
    drawn = random.Random(longest)
    rows: list[TokenPath] = []
    for _ in range(steps * BATCH):
        length = drawn.randint(longest // 4, longest)
        ids = [drawn.randrange(config.vocab_size) for _ in range(length)]
        rows.append(TokenPath(ids, range(length // 2, length)))
    return rows


def ours(config: PretrainedConfig, longest: int, steps: int, device: str) -> dict[str, Any]:
    """Our trainer, a forest of one longest row at a time."""
    from benchmarks.sides.random_model import random_policy
    from benchmarks.sides.sft import measure

    policy = random_policy(config, device, checkpointing=True)
    rows = drawn_rows(config, longest, steps)
    forget_peak(device)
    return {**measure(policy, rows, steps, longest), "peak_gb": peak_gb(device)}


def peer(config: PretrainedConfig, longest: int, steps: int, device: str) -> dict[str, Any]:
    """TRL's trainer with its defaults; its batch is halved until it fits."""
    from benchmarks.peers.trl_grpo import nameless_tokenizer
    from benchmarks.peers.trl_sft import measure
    from benchmarks.sides.random_model import random_base
    from homeground.policy import Quantization

    def of_batch(batch: int) -> dict[str, Any]:
        model = random_base(config, device, Quantization.NF4, "sdpa")
        forget_peak(device)
        named: dict[str, Any] = {
            "per_device_train_batch_size": batch,
            "gradient_checkpointing": True,
            "packing": False,
            "padding_free": False,
            "max_length": None,
            "use_cpu": device == "cpu",
        }
        return measure(model, nameless_tokenizer(), drawn_rows(config, longest, steps), steps, 0, **named)

    return fitting(BATCH, of_batch, device)


def fitting(batch: int, measure: Callable[[int], dict[str, Any]], device: str) -> dict[str, Any]:
    """A measurement at the largest batch that fits, found by halving."""
    while True:
        try:
            return {**measure(batch), "batch": batch, "peak_gb": peak_gb(device)}
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        torch.cuda.empty_cache()


def rows_of(name: str, mine: dict[str, Any], other: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The claims about one shape at one length."""
    if other is None:
        return [results.row(name, "useful tokens", "tokens/s", mine["tokens_per_s"], 0.0, "not installed", 0.0, None)]
    rate = mine["tokens_per_s"] / other["tokens_per_s"]
    pair = mine["tokens_per_s"], other["tokens_per_s"]
    return [
        results.row(name, "useful tokens", "tokens/s", *pair, other["peer"], rate, RATE_TARGET),
        results.smaller(name, "peak memory", "GB", mine["peak_gb"], other["peak_gb"], other["peer"], MEMORY_TARGET),
    ]


def forget_peak(device: str) -> None:
    """Let the card's peak start anew."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: str) -> float:
    """Everything that the process had allocated on the card at once, GB (10^9 bytes)."""
    return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
