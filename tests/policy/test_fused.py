import copy

import pytest
import torch
from peft import LoraConfig
from torch import nn

from homeground.policy import LoraSettings, TokenForest
from homeground.policy.fused import Fused, FusedLora, FusedMlp, FusedNorm, RmsNorm, factors_of, fuse
from homeground.policy.shells import lora_layers

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))


def gradients(policy):
    policy.logprobs(FOREST).sum().backward()
    return tiny.gradient_of(policy.trainable().values())


def test_a_llama_is_fused_wherever_something_can_be(policy):
    kinds = [type(m).__mro__[1] for m in policy.model.modules() if isinstance(m, Fused)]
    assert {kind: kinds.count(kind) for kind in kinds} == {FusedLora: 14, FusedNorm: 5, FusedMlp: 2}
    assert all(factors_of(layer) is not None for layer in lora_layers(policy.model).values())


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
    policy = tiny.policy_of(llama, lora=LoraSettings(r=4, alpha=8, dropout=0.5))
    layer = next(iter(lora_layers(policy.model).values()))
    assert factors_of(layer) is not None
    policy.drop_out(True)
    assert factors_of(layer) is None
    torch.manual_seed(0)
    first = policy.logprobs(FOREST)
    assert not torch.equal(first, policy.logprobs(FOREST)), "nothing was dropped"

    dora = tiny.policy_of(llama)
    dora.peft.add_adapter("other", LoraConfig(r=2, target_modules="all-linear", use_dora=True))
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_is_the_equation(dtype):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(5, 16, generator=generator) * 3).to(dtype).requires_grad_(True)
    gain, weights = torch.randn(2, 16, generator=generator)
    twin = x.detach().double().requires_grad_(True)
    expected = twin / (twin.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain
    found = RmsNorm.apply(x, gain, 1e-5, torch.float32)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    tolerance = 1e-5 if dtype is torch.float32 else 1e-2
    torch.testing.assert_close(x.grad.double(), twin.grad, rtol=tolerance, atol=tolerance)


def test_a_copy_is_fused_too(policy):
    twin = copy.deepcopy(policy.model)
    assert [type(m) for m in twin.modules()] == [type(m) for m in policy.model.modules()]
