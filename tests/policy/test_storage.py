"""Every way to store the base: training, sampling and the forest's contract hold for each."""

import pytest
import torch
from bitsandbytes.functional import quantize_4bit
from pydantic import ValidationError
from torch import nn

from homeground.base.errors import UsageError
from homeground.policy import LoraConfig, ModelConfig, Policy, TokenForest, TokenPath
from homeground.policy.quantize import (
    dequantized,
    keep_trainable,
    quantized_layers,
    store,
)
from homeground.policy.shells import sampler_shell

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))
KINDS = ["fp4", "int8", "nf4"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A model of width 96: blocks of 64 go on from one row into the next."""
    config = tiny.llama_config(hidden_size=96, num_attention_heads=4, attention_bias=True)
    return tiny.build(tmp_path_factory.mktemp("odd"), config)


def gradient(policy, forest=FOREST):
    policy.logprobs(forest).sum().backward()
    flat = tiny.gradient_of(list(policy.trainable().values()))
    for parameter in policy.trainable().values():
        parameter.grad = None
    return flat


def plain_twin(folder, policy, **more):
    """A policy over plain weights that are the dequantized ones."""
    twin = tiny.policy_of(folder, **more)
    modules = dict(twin.model.named_modules())
    with torch.no_grad():
        for name, layer in quantized_layers(policy.model).items():
            modules[name].weight.copy_(dequantized(layer))
    return twin


@pytest.mark.parametrize("lora", [tiny.SMALL_LORA, LoraConfig(r=4, targets=["q_proj"]), LoraConfig(r=4, dropout=0.5)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", ["llama", "odd"])
def test_values_and_gradients_are_those_of_the_dequantized_weights(request, kind, lora, width):
    """Adapted or not, fused or with dropout switched on; and whatever the width."""
    folder = request.getfixturevalue(width)
    policy = tiny.policy_of(folder, quantization=kind, lora=lora)
    twin = plain_twin(folder, policy, lora=lora)
    values, grads = [], []
    for each in (policy, twin):
        each.drop_out(True)
        torch.manual_seed(0)
        values.append(each.logprobs(FOREST).detach())
        torch.manual_seed(0)
        grads.append(gradient(each))
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)
    assert float((grads[0] - grads[1]).norm() / grads[1].norm()) < 1e-4
    assert float(grads[1].norm()) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sibling_s_edit_leaves_the_others_bit_identical(llama, kind, dtype):
    policy = tiny.policy_of(llama, quantization=kind, dtype=dtype)
    prompt = [5, 6, 7, 8]

    def scores(last):
        rows = [TokenPath([*prompt, *tail], range(4, 7)) for tail in ([9, 10, 11], [12, 13, last])]
        return policy.logprobs(TokenForest.build(rows)).detach()

    before, after = scores(14), scores(200)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3:], after[3:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_the_sampler_computes_with_the_same_numbers(odd, kind, packed):
    policy = tiny.policy_of(odd, quantization=kind, lora=LoraConfig(r=4, targets="attention"))
    shell = sampler_shell(policy.model, torch.float32, packed=packed)
    assert bool(quantized_layers(shell)) is packed
    shell.set_attn_implementation("eager")
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(shell(ids).logits, tiny.plain(policy)(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("blocksize", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("shape", [(24, 96), (7, 576), (3, 10)])
def test_unpacking_is_right_whatever_the_width_and_the_block(kind, double_quant, blocksize, shape):
    """bitsandbytes' own unpacking on a CPU starts a new block with each row."""
    from bitsandbytes.nn import Linear4bit

    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer = Linear4bit(shape[1], shape[0], bias=False, quant_type=kind, compress_statistics=double_quant)
    layer.weight.blocksize = blocksize
    layer.weight.data = weight.clone()
    layer = layer.to("cpu")
    keep_trainable(layer, torch.float32)
    largest = torch.cat([part.abs().amax()[None] for part in weight.flatten().split(blocksize)])
    scaled = weight.flatten() / largest.repeat_interleave(blocksize)[: weight.numel()]
    levels = quantize_4bit(torch.ones(64), quant_type=kind)[1].code
    expected = levels[(scaled[:, None] - levels).abs().argmin(-1)] * largest.repeat_interleave(blocksize)[: len(scaled)]
    # Two levels may be equally near, and double quantization moves the largest magnitudes a little.
    loss = float((dequantized(layer).flatten() - expected).norm() / expected.norm())
    assert loss < (0.02 if double_quant else 1e-6)


def test_eight_bit_rows_are_scaled_by_their_largest_magnitude(llama):
    from safetensors.torch import load_file

    policy = tiny.policy_of(llama, quantization="int8")
    original = load_file(llama / "model.safetensors")
    layers = quantized_layers(policy.model)
    assert len(layers) == 14
    for name, layer in layers.items():
        weight = original[f"{name.replace('.base_layer', '')}.weight"].half().float()
        largest = weight.abs().amax(1, keepdim=True)
        expected = (weight / largest * 127).round() * largest / 127
        assert layer.weight.dtype is torch.int8
        assert (dequantized(layer) - expected).abs().max() <= largest.max() / 127
        assert float((dequantized(layer) - expected).norm() / expected.norm()) < 1e-3


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8", "none"])
def test_another_weight_is_stored_as_the_first_was(llama, kind):
    policy = tiny.policy_of(llama, quantization=kind, lora=LoraConfig(r=4, targets=["q_proj"]), blocksize=32)
    layer = policy.model.get_submodule("model.layers.0.mlp.up_proj")
    before, was = dequantized(layer).clone(), type(layer.weight)
    store(layer, before)
    assert type(layer.weight) is was
    torch.testing.assert_close(dequantized(layer), before, rtol=2e-2, atol=2e-2)
    store(layer, -before)
    torch.testing.assert_close(dequantized(layer), -before, rtol=5e-2, atol=5e-2)
    assert getattr(layer.weight, "blocksize", 32) == 32


def test_blocks_are_as_large_as_asked_for(llama):
    losses = []
    for blocksize in (32, 256):
        policy = tiny.policy_of(llama, quantization="nf4", blocksize=blocksize)
        layers = quantized_layers(policy.model).values()
        assert {layer.weight.quant_state.blocksize for layer in layers} == {blocksize}
        plain = dict(tiny.policy_of(llama).model.named_modules())
        pairs = [(dequantized(q), plain[n].weight) for n, q in quantized_layers(policy.model).items()]
        losses.append(float(sum((q - w).norm() / w.norm() for q, w in pairs)) / len(pairs))
    assert losses[0] < losses[1] < 0.12


@pytest.mark.parametrize("blocksize", [0, 48, 16, 4096])
def test_a_blocksize_without_a_kernel_is_refused(blocksize):
    with pytest.raises(ValidationError, match=r"blocksize\n.*32, 64, 128"):
        ModelConfig(blocksize=blocksize)


def test_describe_says_how_the_base_is_stored(llama):
    words = [tiny.policy_of(llama, quantization=kind, shaken=False).describe() for kind in ("nf4", "fp4", "int8")]
    assert [w.split(": ")[1].split(" base")[0] for w in words] == ["NF4", "FP4", "8-bit"]


def test_the_kind_and_the_block_are_part_of_the_fingerprint(llama):
    prints = [
        tiny.policy_of(llama, quantization=kind, blocksize=size).base_fingerprint()
        for kind, size in [("nf4", 64), ("nf4", 32), ("fp4", 64), ("int8", 64), ("none", 64)]
    ]
    assert len(set(prints)) == 5


def test_a_device_that_is_not_there_is_refused_with_what_is(llama, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="'cuda' was asked for") as caught:
        Policy.load(ModelConfig(name=str(llama), device="cuda"))
    assert caught.value.where == "model.device"
    assert "found here: cpu" in caught.value.hint
    with pytest.raises(ValidationError, match="'auto', 'cpu', 'cuda' or 'mps'"):
        ModelConfig(device="tpu")
    assert Policy.load(ModelConfig(name=str(llama), device="auto")).device.type == "cpu"


def test_a_name_alone_gets_plain_weights_where_memory_is_not_scarce(llama, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Policy.load(str(llama)).quantization == "none"
    assert Policy.load(ModelConfig(name=str(llama))).quantization == "nf4"


def test_a_plain_layer_is_no_quantized_one():
    assert quantized_layers(nn.Sequential(nn.Linear(2, 2))) == {}
