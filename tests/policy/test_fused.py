import copy

import pytest
import torch
from peft import LoraConfig as PeftLora
from torch import nn
from transformers.models.cohere.modeling_cohere import CohereAttention
from transformers.models.gemma3.modeling_gemma3 import Gemma3Attention
from transformers.models.llama.modeling_llama import LlamaAttention

from homeground.policy import LoraConfig, TokenForest
from homeground.policy.fused import (
    Fused,
    FusedAttention,
    FusedLora,
    FusedMlp,
    FusedNorm,
    _with_rotation,
    factors_of,
    fuse,
)
from homeground.policy.layer_gradients import RmsNorm, Rotation
from homeground.policy.shells import lora_layers

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))


def gradients(policy):
    policy.logprobs(FOREST).sum().backward()
    return tiny.gradient_of(policy.trainable().values())


def test_a_llama_is_fused_wherever_something_can_be(policy):
    kinds = [type(m).__mro__[1] for m in policy.model.modules() if isinstance(m, Fused)]
    assert {kind: kinds.count(kind) for kind in kinds} == {FusedLora: 14, FusedNorm: 5, FusedMlp: 2, FusedAttention: 2}
    assert all(factors_of(layer) is not None for layer in lora_layers(policy.model).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_switch_keeps_every_module_in_its_own_class(llama, dtype):
    policy = tiny.policy_of(llama, dtype=dtype, fused_layers=False)
    assert not any(isinstance(module, Fused) for module in policy.model.modules())
    fused = tiny.policy_of(llama, dtype=dtype)
    assert policy.strategy == fused.strategy == "forest"
    tolerance = 1e-5 if dtype is torch.float32 else 0.1
    torch.testing.assert_close(policy.logprobs(FOREST), fused.logprobs(FOREST), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_values_and_gradients_are_those_of_the_modules_own_code(llama, quantization):
    policy = tiny.policy_of(llama, quantization=quantization)
    fused, mine = policy.logprobs(FOREST).detach(), gradients(policy)
    for parameter in policy.trainable().values():
        parameter.grad = None
    tiny.unfused(policy.model)
    theirs = gradients(policy)
    torch.testing.assert_close(fused, policy.logprobs(FOREST).detach(), rtol=1e-5, atol=1e-5)
    assert float((mine - theirs).norm() / theirs.norm()) < 1e-5
    assert float(theirs.norm()) > 0


def test_a_fused_layer_keeps_less_for_the_backward_pass(llama):
    def kept(policy):
        seen = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: seen.setdefault(t.untyped_storage().data_ptr(), (t.untyped_storage().nbytes(), t))[1], lambda t: t
        ):
            policy.logprobs(FOREST)
        return sum(size for size, _ in seen.values())

    policy, plain = tiny.policy_of(llama), tiny.policy_of(llama)
    tiny.unfused(plain.model)
    assert kept(policy) < 0.75 * kept(plain)


def test_dropout_dora_and_trained_gains_stay_with_their_own_code(llama):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, dropout=0.5))
    layer = next(iter(lora_layers(policy.model).values()))
    assert factors_of(layer) is not None
    policy.drop_out(True)
    assert factors_of(layer) is None
    torch.manual_seed(0)
    first = policy.logprobs(FOREST)
    assert not torch.equal(first, policy.logprobs(FOREST)), "nothing was dropped"

    dora = tiny.policy_of(llama)
    dora.peft.add_adapter("other", PeftLora(r=2, target_modules="all-linear", use_dora=True))
    dora.peft.set_adapter("other")
    assert all(factors_of(layer) is None for layer in lora_layers(dora.model).values())

    norm = policy.model.model.norm
    norm.weight.requires_grad_(True)
    policy.logprobs(FOREST).sum().backward()
    assert norm.weight.grad is not None


def test_a_module_that_computes_something_else_is_left_alone():
    class AlmostNorm(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.weight, self.eps, self.shift = nn.Parameter(torch.ones(8)), 1e-6, shift

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (self.weight + self.shift)

    kinds = []
    for shift in (0.0, 1.0, 0.5):
        model = nn.Sequential(AlmostNorm(shift))
        fuse(model)
        kinds.append(isinstance(model[0], FusedNorm))
    assert kinds == [True, True, False]


@pytest.mark.parametrize("divides", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_is_the_equation(dtype, divides):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(5, 16, generator=generator) * 3).to(dtype).requires_grad_(True)
    gain, weights = torch.randn(2, 16, generator=generator)
    twin = x.detach().double().requires_grad_(True)
    expected = twin / (twin.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain
    found = RmsNorm.apply(x, gain, 1e-5, torch.float32, divides)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    tolerance = 1e-5 if dtype is torch.float32 else 1e-2
    torch.testing.assert_close(x.grad.double(), twin.grad, rtol=tolerance, atol=tolerance)


def test_the_rotation_is_a_matrix_and_its_gradient_the_transposed_one():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 3, 8, generator=generator).requires_grad_(True)
    cos, sin, upstream = (torch.randn(*shape, generator=generator) for shape in [(1, 3, 8), (1, 3, 8), (1, 2, 3, 8)])
    found = Rotation.apply(x, cos, sin)
    twin = x.detach().double().requires_grad_(True)
    turned = torch.cat([-twin[..., 4:], twin[..., :4]], -1)
    expected = twin * cos[:, None] + turned * sin[:, None]
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)
    (found * upstream).sum().backward()
    (expected * upstream).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad.float(), rtol=1e-5, atol=1e-6)


def test_a_rotary_function_of_another_kind_is_left_alone():
    kinds = CohereAttention, LlamaAttention, Gemma3Attention, nn.Linear
    assert [_with_rotation(kind.forward) is not None for kind in kinds] == [False, True, True, False]


def test_an_adapter_that_adds_nothing_costs_the_twin_nothing(llama):
    policy = tiny.policy_of(llama)
    with torch.no_grad():
        for index, layer in enumerate(lora_layers(policy.model).values()):
            layer.lora_B["default"].weight.fill_(0.0 if index else 0.01)
    idle = [layer.idle for layer in lora_layers(policy.reference()).values()]
    assert idle == [False] + [True] * 13
    assert not any(layer.idle for layer in lora_layers(policy.model).values())
    assert torch.equal(policy.logprobs(FOREST, reference=policy.reference()), policy.logprobs(FOREST).detach())


def test_a_norm_with_a_gain_of_zero_keeps_its_input():
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.tensor([0.0, 1.0, 2.0, -1.0]), requires_grad=False), 1e-6

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight

    own, fused = Norm(), nn.Sequential(Norm())
    fuse(fused)
    assert isinstance(fused[0], FusedNorm)
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    grads = []
    for norm, value in ((own, x[0]), (fused, x[0])):
        value = value.clone().requires_grad_(True)
        (norm(value) * x[1]).sum().backward()
        grads.append(value.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-6)


def test_a_copy_is_fused_too(policy):
    twin = copy.deepcopy(policy.model)
    assert [type(m) for m in twin.modules()] == [type(m) for m in policy.model.modules()]
