"""The count without numbers is what really happens."""

import pytest
import torch
from transformers import Gemma3TextConfig, MistralConfig, Qwen2Config, StableLmConfig

from homeground.policy import LoraConfig, TokenForest, TokenPath
from homeground.policy.budget import NoPlanError, step_of
from homeground.policy.logprobs import body
from homeground.policy.shells import lora_layers

from . import tiny

DEEP = tiny.llama_config(num_hidden_layers=5, hidden_size=128, intermediate_size=256)
PATHS = [TokenPath([i, *range(60)], range(1, 61)) for i in range(100, 103)]


def settings(targets="all-linear", **changes):
    return tiny.settings_of("unused", lora=LoraConfig(r=4, targets=targets), **changes)


def load(tmp_path, config=DEEP, **more):
    return tiny.policy_of(tiny.build(tmp_path / "model", config), shaken=False, **more)


def saved_bytes(policy, paths):
    """What autograd really keeps when all layers have run, parameters aside; each storage once."""
    own = {p.untyped_storage().data_ptr() for p in policy.peft.parameters()}
    seen = {}
    after_body = {}

    def keep(tensor):
        place = tensor.untyped_storage()
        if place.data_ptr() not in own and tensor.is_floating_point():
            seen[place.data_ptr()] = place.nbytes()
        return tensor

    hook = body(policy.model).register_forward_hook(lambda *_: after_body.update(seen))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy.logprobs(TokenForest.build(paths))
    hook.remove()
    return sum(after_body.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_kept_is_what_autograd_keeps(tmp_path, dtype, checkpointing):
    policy = load(tmp_path, dtype=dtype, gradient_checkpointing=checkpointing)
    step = step_of(DEEP, settings(dtype=dtype, gradient_checkpointing=checkpointing), PATHS, cuda=False)
    found = saved_bytes(policy, PATHS)
    # Beside what is saved live the last hidden states, the forest's masks and the rotary table.
    assert found <= step.kept <= found + 8 * 128 * 183 * 2 + 2 * 183 * 183 * 4


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_weights_and_adapter_are_those_of_the_loaded_policy(tmp_path, quantization):
    policy = load(tmp_path, quantization=quantization, dtype=torch.bfloat16)
    step = step_of(DEEP, settings(quantization=quantization, dtype=torch.bfloat16), PATHS, cuda=False)
    frozen = [p for p in policy.peft.parameters() if not p.requires_grad]
    held = sum(p.nbytes for p in frozen)
    for parameter in frozen:
        if (state := getattr(parameter, "quant_state", None)) is not None:
            held += state.absmax.nbytes + state.state2.absmax.nbytes
    assert step.adapter == sum(p.nbytes for p in policy.trainable().values())
    assert step.parameters == sum(p.numel() for p in policy.trainable().values())
    # Codebooks and rotary frequencies are small, and each layer holds its own codebook.
    assert held <= step.weights <= held + 5 * 7 * 1200 + 4096
    if quantization == "nf4":
        layers = lora_layers(policy.model).values()
        assert step.unpacked == sum(2 * layer.out_features * layer.in_features for layer in layers)


def test_operations_are_two_for_each_weight_and_token():
    step = step_of(DEEP, settings(), PATHS, cuda=False)
    tokens = sum(len(p.ids) for p in PATHS)
    weights = 5 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256)
    head = 180 * 128 * DEEP.vocab_size
    attention = 5 * 2 * tokens * tokens * 128
    # The head's gradient is made in its forward pass; the adapter comes on top.
    least = 2 * (tokens * weights + 2 * head + attention)
    assert least <= step.forward <= 1.1 * least


def test_checkpointing_keeps_less_and_computes_more():
    plain, saved = (step_of(DEEP, settings(gradient_checkpointing=on), PATHS, cuda=False) for on in (False, True))
    assert saved.kept < 0.4 * plain.kept
    assert saved.backward > 1.2 * plain.backward
    assert saved.weights == plain.weights


SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 300}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "quantization", "cuda"),
    [
        (Qwen2Config(**SMALL), "int8", False),
        (Gemma3TextConfig(**SMALL, head_dim=16, sliding_window=16), "fp4", True),
        (MistralConfig(**SMALL, sliding_window=16), "nf4", False),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_families_can_be_counted_on_both_devices(config, quantization, cuda):
    step = step_of(config, settings(quantization=quantization, dtype=torch.bfloat16), PATHS, cuda=cuda)
    assert step.kept > 0
    assert step.weights < step.plain
    assert (step.heap == 0) == cuda


def test_only_some_layers_with_an_adapter_can_be_counted():
    every = step_of(DEEP, settings(quantization="nf4"), PATHS, cuda=False)
    some = step_of(DEEP, settings(quantization="nf4", targets=("q_proj", "v_proj")), PATHS, cuda=False)
    assert some.adapter < every.adapter
    assert some.unpacked == every.unpacked


def test_a_family_that_cannot_be_counted_says_so():
    with pytest.raises(NoPlanError, match="no memory plan for models of the type 'stablelm'") as error:
        step_of(StableLmConfig(**SMALL), settings(), PATHS, cuda=False)
    assert "the longest batch is tried before the first step" in str(error.value)
