"""Floating-point operations that an update needs, and the share of the machine's matrix rate that it reaches.

Counted is what the mathematics asks for on the *distinct* tokens of a step, one multiply-add as two operations:

    forward    2 N (M + L)  +  2 K H  +  4 A h            N tokens, M base and L adapter weights in matrix products,
    backward   2 N M  +  4 N L  +  2 K H  +  8 A h        K scored hidden states, H weights of the output head,
                                                          A query-key pairs (all layers), h = heads x head size

The base is frozen, so backward goes through its activations only (2 N M, not 4). An update is one forward of the
reference, one forward and one backward of the policy. What is computed twice to save memory (the output head's chunks,
checkpointed layers) is *not* counted: repeating work does not make an update better used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from homeground.policy.forest import TokenForest
from homeground.policy.load import Policy
from homeground.policy.shells import lora_layers

LONGEST_PRODUCT_S = 0.5


@dataclass(frozen=True)
class Operations:
    """Of one forest through one policy."""

    forward: float
    backward: float

    @property
    def update(self) -> float:
        """Reference, policy and gradient."""
        return 2 * self.forward + self.backward


def matmul_rate() -> float:
    """The fastest bf16 product this process gets from the CPU, TFLOP/s: best of four sizes, ten times each.

    Sizes whose products would take seconds, as where bf16 is emulated, are left out.
    """
    best = 0.0
    for size in (256, 1024, 2048, 4096):
        if best and 2 * size**3 / 1e12 / best > LONGEST_PRODUCT_S:
            break
        left, right = (torch.randn(size, size).bfloat16() for _ in range(2))
        for _ in range(10):
            began = time.perf_counter()
            left @ right
            best = max(best, 2 * size**3 / 1e12 / (time.perf_counter() - began))
    return best


def attended_pairs(forest: TokenForest) -> int:
    """How many (query, key) pairs one layer attends."""
    return sum((n := s.stop - s.start) * (n + 1) // 2 + (s.below - s.stop) * n for s in forest.segments)


def operations(policy: Policy, forest: TokenForest) -> Operations:
    """Count, see above; every matrix of the body is assumed to be adapted or a plain linear layer."""
    adapted = lora_layers(policy.model)
    base = sum(int(layer.out_features) * int(layer.in_features) for layer in adapted.values())
    adapter = sum(p.numel() for p in policy.trainable().values())
    head = policy.model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    scored = len(set(forest.source.tolist()))
    config = policy.model.config
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    attended = attended_pairs(forest) * config.num_hidden_layers * width
    n, outputs = len(forest), scored * head.in_features * head.out_features
    return Operations(
        forward=2 * n * (base + adapter) + 2 * outputs + 4 * attended,
        backward=2 * n * base + 4 * n * adapter + 2 * outputs + 8 * attended,
    )
