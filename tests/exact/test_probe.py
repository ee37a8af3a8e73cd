"""The probe at load: it finds what a model really does, and leaves no trace."""

import inspect
import warnings

import pytest
import torch
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

from homeground.policy import Strategy, StrategyWarning, TokenForest, row_logprobs
from homeground.policy.attention import IMPLEMENTATION
from homeground.policy.probe import prepare

from ..policy import tiny
from .families import FAMILIES
from .rows import gradient, weighted

DEEP = tiny.random_paths(7, depth=2, longest=8)[:8]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def assert_the_probe_falls_back_to(strategy, llama, dtype, reason):
    with pytest.warns(StrategyWarning, match=reason) as caught:
        policy = tiny.policy_of(llama, dtype=dtype)
    assert len([w for w in caught if w.category is StrategyWarning]) == 1
    assert policy.strategy is strategy
    truth = row_logprobs(tiny.plain(policy, "eager"), DEEP) if dtype is torch.float32 else None
    mine = policy.logprobs(TokenForest.build(DEEP))
    if truth is not None:
        torch.testing.assert_close(mine, truth, rtol=1e-5, atol=2e-5)


@DTYPES
def test_a_model_that_does_something_unknown_after_its_head_gets_plain_rows(llama, monkeypatch, dtype):
    forward = LlamaForCausalLM.forward

    def louder(self, *args, **kwargs):
        found = forward(self, *args, **kwargs)
        found.logits = found.logits * 1.3
        return found

    louder.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(LlamaForCausalLM, "forward", louder)
    assert_the_probe_falls_back_to(Strategy.ROWS, llama, dtype, "plain rows.*forest: off by .* nats")


@DTYPES
def test_a_model_that_attends_by_itself_gets_forked_states(llama, monkeypatch, dtype):
    """It accepts every keyword and any attention's name, and computes plain causal attention over the whole forest."""
    forward = LlamaAttention.forward

    def by_itself(self, *args, **kwargs):
        kwargs.pop("forest", None)
        asked = self.config._attn_implementation
        if asked == IMPLEMENTATION:
            self.config._attn_implementation_internal = "sdpa"
        try:
            return forward(self, *args, **kwargs)
        finally:
            self.config._attn_implementation_internal = asked

    monkeypatch.setattr(LlamaAttention, "forward", by_itself)
    assert_the_probe_falls_back_to(
        Strategy.FORK, llama, dtype, "segment by segment.*forest: layer 0 does not attend through the function"
    )


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_it_leaves_weights_modes_and_gradients_as_they_were(llama, quantization):
    policy = tiny.policy_of(llama, quantization=quantization)
    forest = TokenForest.build(DEEP)
    weighted(policy.logprobs(forest)).backward()
    expected = gradient(policy)
    modes = {n: m.training for n, m in policy.peft.named_modules()}
    weights = {n: p.detach().clone() for n, p in policy.peft.named_parameters()}
    assert prepare(policy.model, "again") is Strategy.FOREST
    assert policy.model.config._attn_implementation == IMPLEMENTATION
    assert {n: m.training for n, m in policy.peft.named_modules()} == modes
    assert all(torch.equal(p, weights[n]) for n, p in policy.peft.named_parameters())
    assert all(p.grad is None for p in policy.peft.parameters())
    weighted(policy.logprobs(forest)).backward()
    assert torch.equal(gradient(policy), expected)


def test_it_asks_for_no_gradient(llama, monkeypatch):
    seen = []
    forward = LlamaForCausalLM.forward
    monkeypatch.setattr(
        LlamaForCausalLM, "forward", lambda *a, **k: (seen.append(torch.is_grad_enabled()), forward(*a, **k))[1]
    )
    tiny.policy_of(llama)
    assert seen == [False], "one forward of the model's own is enough"


def test_it_costs_a_few_short_forwards_of_a_real_model(smollm):
    policy = tiny.policy_of(smollm, dtype=torch.bfloat16, quantization="nf4")
    assert policy.strategy is Strategy.FOREST
    lengths = []
    handle = policy.model.model.register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    with policy.autocast():
        prepare(policy.model, "again")
    handle.remove()
    assert len(lengths) == 3
    assert sum(lengths) < 110


def test_stablelm_is_named_with_the_reason_and_the_cost(tmp_path):
    folder = tiny.build(tmp_path / "model", FAMILIES["StableLM, which drops keywords"].config)
    with pytest.warns(StrategyWarning) as caught:
        tiny.policy_of(folder)
    (said,) = [str(w.message) for w in caught]
    assert str(folder) in said
    assert "does not pass the 'forest' keyword" in said
    assert "several forwards" in said


def test_a_model_that_can_do_a_forest_is_loaded_without_a_word(llama):
    with warnings.catch_warnings():
        warnings.simplefilter("error", StrategyWarning)
        assert tiny.policy_of(llama).strategy is Strategy.FOREST
