"""The bundled SmolLM2-135M-Instruct with a real NF4 base in bfloat16: what tiny random models cannot show."""

import pytest
import torch

from homeground.policy import ModelConfig, Policy, TokenForest, chat, row_logprobs
from homeground.policy.quantize import four_bit_layers
from homeground.rollouts import Sampler, SamplingParams, Turn, sampled_paths

from ..policy import tiny

QUESTIONS = ["What is the capital of France? Answer with one word.", "Name a colour.", "Write a short greeting."]


@pytest.fixture(scope="module")
def policy(smollm):
    return tiny.shake(Policy.load(ModelConfig(name=str(smollm), device="cpu")), std=0.005)


@pytest.fixture(scope="module")
def sampler(policy):
    with Sampler(policy, rows=8, cache_mb=64) as sampler:
        yield sampler


def prompt(policy, question):
    return chat.encode(policy.tokenizer, chat.prompt_text(policy.tokenizer, [{"role": "user", "content": question}]))


@pytest.fixture(scope="module")
def generations(policy, sampler):
    """Two answers to each question."""
    futures = [
        sampler.submit(prompt(policy, question), 12, SamplingParams(seed=seed), stop_ids=[2])
        for question in QUESTIONS
        for seed in range(2)
    ]
    return [future.result(timeout=120) for future in futures]


@pytest.fixture(scope="module")
def forest(generations):
    turns = [[Turn(g.prompt_ids, g.ids, g.logprobs, "stop", 0)] for g in generations]
    return [p.tokens for t in turns for p in sampled_paths(t)]


def test_all_its_linear_layers_are_four_bit_and_adapted(policy):
    assert len(four_bit_layers(policy.model)) == 30 * 7
    assert len(policy.trainable()) == 30 * 7 * 2


def test_it_still_knows_the_capital_of_france(policy, sampler):
    ids = prompt(policy, QUESTIONS[0])
    answer = sampler.submit(ids, 10, SamplingParams(temperature=0), stop_ids=[2]).result(timeout=120)
    assert "Paris" in policy.tokenizer.decode(answer.ids)


def test_forest_and_sampler_are_as_close_to_float32_as_plain_bf16_rows(smollm, policy, generations, forest):
    exact = tiny.shake(Policy.load(ModelConfig(name=str(smollm), device="cpu", compute_dtype="fp32")), std=0.005)
    with torch.no_grad():
        truth = row_logprobs(tiny.plain(exact, "sdpa"), forest)
        torch.testing.assert_close(exact.logprobs(TokenForest.build(forest)), truth, rtol=1e-4, atol=1e-4)
        mine = policy.logprobs(TokenForest.build(forest))
        with policy.autocast():
            rows = row_logprobs(tiny.plain(policy, "sdpa"), forest)
    sampled = torch.tensor([lp for g in generations for lp in g.logprobs])
    rounding = (rows - truth).abs().mean()
    if policy.dtype == torch.bfloat16:
        assert 0 < rounding < 0.3
    else:  # a processor that is not quick in bf16 computes in float32
        assert rounding < 1e-4
    allowed = max(2 * float(rounding), 1e-4)
    assert (mine - truth).abs().mean() < allowed
    assert (sampled - truth).abs().mean() < allowed


def test_gradients_are_bit_equal_after_all_of_this(policy, sampler, forest):
    def gradient():
        policy.logprobs(TokenForest.build(forest)).sum().backward()
        parameters = list(policy.trainable().values())
        flat = tiny.gradient_of(parameters)
        for parameter in parameters:
            parameter.grad = None
        return flat

    before = gradient()
    with torch.no_grad():
        policy.logprobs(TokenForest.build(forest))
    sampler.publish()
    sampler.submit([1, 2, 3], 2).result(timeout=60)
    assert before.norm() > 0
    assert torch.equal(gradient(), before)
