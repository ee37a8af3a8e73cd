import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

from homeground.policy import ModelConfig, TokenForest
from homeground.policy.quantize import dequantized, four_bit_layers, quantization_config
from homeground.rollouts import Sampler

from . import tiny

# Dettmers et al. 2023, appendix E.
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
BLOCK = 64


def nf4_by_definition(weight):
    """Blocks of 64: divide by the largest magnitude, take the nearest of 16 values, multiply back."""
    blocks = weight.flatten().view(-1, BLOCK).float()
    largest = blocks.abs().amax(1, keepdim=True)
    codebook = torch.tensor(NF4)
    nearest = ((blocks / largest)[..., None] - codebook).abs().argmin(-1)
    return (codebook[nearest] * largest).view(weight.shape)


def original(llama):
    from safetensors.torch import load_file

    return load_file(llama / "model.safetensors")


def layers_of(policy):
    """The 4-bit layers under the names of the model's file."""
    return {name.replace(".base_layer", ""): layer for name, layer in four_bit_layers(policy.model).items()}


@pytest.fixture(scope="module")
def quantized(llama):
    return tiny.policy_of(llama, quantization="nf4")


@pytest.mark.parametrize("double_quant", [True, False])
def test_every_adapted_layer_is_really_four_bit(llama, double_quant):
    layers = layers_of(tiny.policy_of(llama, quantization="nf4", double_quant=double_quant))
    assert len(layers) == 14
    weights = original(llama)
    for name, layer in layers.items():
        assert isinstance(layer, Linear4bit)
        assert layer.weight.dtype is torch.uint8
        assert layer.weight.numel() * 2 == weights[f"{name}.weight"].numel()
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.blocksize == BLOCK
        assert layer.weight.quant_state.nested is double_quant
        assert (layer.weight.quant_state.absmax.dtype is torch.uint8) is double_quant


def test_weights_equal_the_paper_s_codebook_computed_by_hand(llama):
    layers = layers_of(tiny.policy_of(llama, quantization="nf4", double_quant=False))
    for name, layer in layers.items():
        weight = original(llama)[f"{name}.weight"]
        mine, expected = dequantized(layer), nf4_by_definition(weight)
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-7)
        assert (mine - weight).abs().mean() > 1e-3, "nothing was lost, so nothing was quantized"


def test_double_quantization_moves_the_weights_only_a_little(llama, quantized):
    for name, layer in layers_of(quantized).items():
        once = nf4_by_definition(original(llama)[f"{name}.weight"])
        twice = dequantized(layer)
        assert not torch.equal(once, twice)
        assert (once - twice).norm() / once.norm() < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7])
def test_forward_equals_the_dequantized_reference(llama, dtype, rows):
    policy = tiny.policy_of(llama, quantization="nf4", dtype=dtype)
    layer = next(iter(four_bit_layers(policy.model).values()))
    x = torch.randn(1, rows, layer.in_features, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = (x.double() @ dequantized(layer).double().T).to(dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(layer(x), expected, **tolerance)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, **tolerance)


def gradient(policy, forest):
    policy.logprobs(forest).sum().backward()
    flat = tiny.gradient_of(list(policy.trainable().values()))
    for parameter in policy.trainable().values():
        parameter.grad = None
    return flat


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_stay_bit_equal_through_evaluation_sampling_and_saving(llama, tmp_path, dtype):
    """bitsandbytes repacks a layer in place at its first forward without gradients, unless that is turned off."""
    policy = tiny.policy_of(llama, quantization="nf4", dtype=dtype)
    forest = TokenForest.build(tiny.random_paths(0))
    before = gradient(policy, forest)
    assert before.norm() > 0
    policy.peft.eval()
    with torch.no_grad():
        policy.logprobs(forest)
        policy.logprobs(forest, reference=policy.reference())
    assert torch.equal(gradient(policy, forest), before), "after an evaluation"
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        sampler.submit([1, 2, 3], 4).result(timeout=30)
        sampler.publish()
        sampler.submit([1, 2, 3], 4).result(timeout=30)
    assert torch.equal(gradient(policy, forest), before), "after sampling"
    policy.save_adapter(tmp_path / "adapter")
    assert torch.equal(gradient(policy, forest), before), "after saving"


def test_gradients_through_four_bit_layers_equal_those_through_the_dequantized_weights(llama, quantized):
    forest = TokenForest.build(tiny.random_paths(0))
    mine = gradient(quantized, forest)
    same = tiny.policy_of(llama)
    with torch.no_grad():
        plain = dict(same.model.named_modules())
        for name, layer in four_bit_layers(quantized.model).items():
            plain[name].weight.copy_(dequantized(layer))
    theirs = gradient(same, forest)
    assert (mine - theirs).norm() / theirs.norm() < 1e-4


def test_a_plain_base_has_no_four_bit_layer_and_no_quantization(policy):
    assert four_bit_layers(policy.model) == {}
    assert quantization_config(ModelConfig(quantization="none"), torch.float32) is None
    linear = nn.Linear(3, 2)
    assert dequantized(linear) is linear.weight


def test_the_head_stays_as_it_is(quantized):
    assert quantized.model.get_output_embeddings().weight.dtype is torch.float32
