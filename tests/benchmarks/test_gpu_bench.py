"""The building part of bench-gpu, at toy size on the CPU."""

import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from benchmarks import gpu
from benchmarks.sides import card_sft
from benchmarks.sides.random_model import random_policy
from benchmarks.sides.workload import Delivery, Setting
from homeground.policy import Quantization, TokenForest, TokenPath
from homeground.policy.quantize import four_bit_layers

TINY = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
CONFIGS = [
    LlamaConfig(**TINY),
    Qwen2Config(**TINY, tie_word_embeddings=True),
    Qwen3Config(**TINY, head_dim=16, tie_word_embeddings=True),
    MistralConfig(**TINY, sliding_window=None),
]
FOREST = TokenForest.build([TokenPath([1, 2, 3, 4, 5, 6], [3, 4, 5]), TokenPath([1, 2, 3, 7, 8], [3, 4])])


def gradients(policy):
    policy.logprobs(FOREST).sum().backward()
    return torch.cat([p.grad.flatten() for p in policy.trainable().values()])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model_type)
def test_a_model_from_its_configuration_is_packed_and_trains(config):
    policy = random_policy(config, "cpu")
    assert len(four_bit_layers(policy.model)) == 7 * TINY["num_hidden_layers"]
    assert not any(p.is_meta for p in policy.model.parameters())
    assert not any(b.is_meta for b in policy.model.buffers())
    tied = policy.model.get_input_embeddings().weight is policy.model.get_output_embeddings().weight
    assert tied == config.tie_word_embeddings
    found = gradients(policy)
    assert torch.isfinite(found).all()
    assert found.norm() > 0


def test_packed_weights_take_their_share_of_memory():
    plain, packed = (random_policy(CONFIGS[0], "cpu", kind) for kind in (Quantization.NONE, Quantization.NF4))
    name = "model.layers.0.mlp.up_proj.base_layer"
    sizes = [p.model.get_submodule(name).weight.nbytes for p in (plain, packed)]
    assert sizes[0] == 4 * sizes[1]


def test_checkpointing_recomputes_and_changes_nothing():
    policies = [random_policy(CONFIGS[0], "cpu", Quantization.NONE, checkpointing=on) for on in (False, True)]
    calls = []
    for policy in policies:
        layer = policy.model.get_submodule("model.layers.1.mlp")
        layer.register_forward_pre_hook(lambda *_, policy=policy: calls.append(policy is policies[1]))
    assert torch.equal(*[gradients(policy) for policy in policies])
    # The layer ran once without checkpointing, and once more in the backward pass with it.
    assert (calls.count(False), calls.count(True)) == (1, 2)


def test_our_side_runs_at_toy_size():
    found = gpu.ours(CONFIGS[3], Setting("toy", 24, 4, 4, group=3, delivery=Delivery.ROW_A_TURN), 1, "cpu")
    assert len(found["update"]) == 1
    assert found["grad_norm"][0] > 0
    assert found["distinct_tokens"] < found["path_tokens"] == 3 * 28


def test_fine_tuning_runs_at_toy_size():
    found = card_sft.ours(CONFIGS[1], 32, card_sft.DROPPED + 1, "cpu")
    assert len(found["loss"]) == card_sft.DROPPED + 1
    assert found["tokens_per_s"] > 0
    lengths = [len(row.ids) for row in card_sft.drawn_rows(CONFIGS[1], 32, 3)]
    assert sum(found["useful_tokens"]) == sum(lengths)
    assert 8 <= min(lengths) < max(lengths) <= 32


@pytest.mark.parametrize("shape", gpu.SHAPES)
def test_the_shapes_have_their_names_sizes(shape):
    config = gpu.SHAPES[shape].config()
    attention = 2 * config.hidden_size * head_size(config) * (config.num_attention_heads + config.num_key_value_heads)
    layer = attention + 3 * config.hidden_size * config.intermediate_size
    tied = 1 if config.tie_word_embeddings else 2
    total = config.num_hidden_layers * layer + tied * config.vocab_size * config.hidden_size
    assert total / 1e9 == pytest.approx(
        {"Qwen2.5-0.5B": 0.494, "Qwen2.5-1.5B": 1.54, "Qwen3-4B": 4.02, "Mistral-7B": 7.25}[shape], rel=0.01
    )


def head_size(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def test_rows_hold_memory_to_its_limit_and_seconds_to_the_peer():
    mine = {"update": [2.0], "peak_gb": 8.0, "commit": "c", "measured_at": "t", "card": "H100"}
    alone = gpu.rows_of({"Mistral-7B: ours": mine})
    assert [(r["metric"], r["met"]) for r in alone] == [("peak memory", True), ("update", None)]
    other = {**mine, "update": [9.0], "peak_gb": 30.0, "peer": "trl"}
    both = gpu.rows_of({"Mistral-7B: ours": mine, "Mistral-7B: peer": other})
    assert [(r["metric"], r["ratio"], r["met"]) for r in both] == [
        ("peak memory", 1.062, True),
        ("update", 4.5, True),
        ("peak memory", 3.75, None),
    ]


def test_fine_tuning_is_held_to_the_peer_at_each_length():
    mine = {"tokens_per_s": 300.0, "peak_gb": 7.0, "commit": "c", "measured_at": "t", "card": "H100"}
    other = {**mine, "tokens_per_s": 100.0, "peak_gb": 9.0, "peer": "trl"}
    rows = gpu.rows_of({"Mistral-7B, SFT to 2048: ours": mine, "Mistral-7B, SFT to 2048: peer": other})
    assert [(r["metric"], r["ratio"], r["met"]) for r in rows] == [
        ("useful tokens", 3.0, True),
        ("peak memory", 1.286, False),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card, so it would measure")
def test_without_a_card_one_line_says_so():
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, check=True)
    assert done.stdout == "bench-gpu: no CUDA device here, nothing was measured\n"
