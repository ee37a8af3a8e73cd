"""Training on an NVIDIA card: exact, packed, and within the memory that checkpointing promises."""

import pytest
import torch
from transformers import MistralConfig

from benchmarks import gpu
from benchmarks.sides.random_model import random_policy
from benchmarks.sides.workload import Delivery, Setting
from homeground.policy import Quantization, TokenForest, row_logprobs
from homeground.policy.quantize import four_bit_layers

from ..policy import tiny

CONFIG = MistralConfig(
    vocab_size=4096, hidden_size=512, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=8,
    num_key_value_heads=2, max_position_embeddings=4096, sliding_window=None,
)  # fmt: skip


def gradients(policy, paths):
    for parameter in policy.trainable().values():
        parameter.grad = None
    policy.logprobs(TokenForest.build(paths)).sum().backward()
    return tiny.gradient_of(policy.trainable().values())


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("model"), tiny.llama_config())


@pytest.mark.parametrize("tree", [{"roots": 2}, {"roots": 1, "depth": 4, "fan": 2}, {"roots": 3, "depth": 1}])
def test_a_forest_on_the_card_equals_plain_rows(llama, tree):
    policy = tiny.policy_of(llama, device="cuda")
    paths = tiny.random_paths(0, **tree)
    model, lora = tiny.trainable_plain(policy)
    expected = row_logprobs(model, paths)
    expected.sum().backward()
    assert torch.allclose(policy.logprobs(TokenForest.build(paths)), expected, atol=1e-4)
    found = gradients(policy, paths)
    reference = tiny.gradient_of(lora)
    assert (found - reference).norm() / reference.norm() < 1e-5


def test_packed_weights_on_the_card_give_the_gradient_of_the_weights_they_stand_for():
    policy = random_policy(CONFIG, "cuda", Quantization.NF4)
    assert len(four_bit_layers(policy.model)) == 7 * CONFIG.num_hidden_layers
    paths = tiny.random_paths(1)
    before = gradients(policy, paths)
    with torch.no_grad():
        policy.logprobs(TokenForest.build(paths))
    assert torch.equal(gradients(policy, paths), before)
    assert before.norm() > 0


def test_checkpointing_changes_no_gradient_and_saves_memory():
    paths = tiny.random_paths(2, roots=1, depth=2, fan=8, longest=200, vocabulary=4096)
    found = {}
    for on in (False, True):
        policy = random_policy(CONFIG, "cuda", Quantization.NF4, checkpointing=on)
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        gradient = gradients(policy, paths)
        found[on] = gradient, torch.cuda.max_memory_allocated() - start
    assert torch.allclose(found[False][0], found[True][0], atol=1e-3, rtol=1e-2)
    assert found[True][1] < 0.6 * found[False][1]


def test_a_grpo_step_on_the_card():
    setting = Setting("toy", 256, 16, 32, group=4, delivery=Delivery.ROW_A_TURN)
    found = gpu.ours(CONFIG, setting, 2, "cuda")
    assert all(norm > 0 for norm in found["grad_norm"])
    assert 0 < found["peak_gb"] < 4
