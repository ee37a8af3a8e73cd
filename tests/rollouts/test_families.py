"""Architectures beyond Llama: what the sampler draws is what the model's own forward says."""

import warnings

import pytest
import torch
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    MistralConfig,
    Phi3Config,
    Qwen3NextConfig,
    StableLmConfig,
)

from homeground.rollouts import Sampler, SamplingParams
from homeground.rollouts.fixed import PlainDecoder

from ..policy import tiny

WINDOW = 8
PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 40, 41], list(range(30, 60)), [9]]


def fields(**changes):
    return {
        k: v for k, v in tiny.llama_config().to_dict().items() if k not in ("model_type", "rope_parameters")
    } | changes


SLIDING = ["sliding_attention", "full_attention"]
FAMILIES = {
    "mistral": lambda: MistralConfig(**fields(sliding_window=WINDOW)),
    "gemma2": lambda: Gemma2Config(
        **fields(head_dim=16, sliding_window=WINDOW, layer_types=SLIDING, query_pre_attn_scalar=8),
        attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0,
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **fields(head_dim=16, sliding_window=WINDOW, layer_types=SLIDING, query_pre_attn_scalar=8)
    ),
    "gpt-oss": lambda: GptOssConfig(
        **fields(head_dim=16, sliding_window=WINDOW, layer_types=SLIDING, tie_word_embeddings=False),
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    "phi3": lambda: Phi3Config(**fields(sliding_window=None)),
    "cohere": lambda: CohereConfig(**fields(logit_scale=0.3)),
}
ROW_BY_ROW = {
    "stablelm": lambda: StableLmConfig(**fields(partial_rotary_factor=0.5)),
    "qwen3-next": lambda: Qwen3NextConfig(
        **fields(head_dim=16, intermediate_size=96, layer_types=["linear_attention", "full_attention"]),
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        num_experts=0,
        mlp_only_layers=[0, 1],
        decoder_sparse_step=1,
    ),
}
TARGETS = {"gpt-oss": ["q_proj", "v_proj", "o_proj"], "qwen3-next": ["q_proj", "v_proj", "o_proj"]}


@pytest.fixture
def policy_of(tmp_path):
    def make(name, config):
        folder = tiny.build(tmp_path / name, config())
        lora = tiny.LoraConfig(r=4, alpha=8, targets=TARGETS.get(name, "all-linear"))
        policy = tiny.policy_of(folder, lora=lora)
        with torch.no_grad():
            for parameter_name, parameter in policy.model.named_parameters():
                if "sinks" in parameter_name:
                    parameter.copy_(torch.tensor([0.5, 2.0, -1.0, 1.0]))
        return policy

    return make


def plain_logits(twin, ids):
    with torch.no_grad():
        return twin(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def assert_drawn_from(policy, generations, temperature=1.0):
    """Log-probabilities, and where greedy the tokens, are those of the model's own forward on the whole row."""
    twin = tiny.plain(policy)
    for g in generations:
        logits = plain_logits(twin, [*g.prompt_ids, *g.ids])[len(g.prompt_ids) - 1 : -1]
        if temperature == 0:
            assert logits.argmax(-1).tolist() == g.ids
        expected = torch.log_softmax(logits / (temperature or 1.0), -1).gather(1, torch.tensor(g.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(g.logprobs), expected, atol=1e-5, rtol=1e-5)


def roll_out(sampler, temperature):
    """Siblings, a shared beginning, a long and a short prompt together; then second turns on what is cached."""
    params = [SamplingParams(temperature, seed=i) for i in range(2)]
    first = [sampler.submit(p, 3 * WINDOW, q) for p in PROMPTS for q in params]
    first = [f.result(timeout=60) for f in first]
    second = [sampler.submit([*g.prompt_ids, *g.ids, 77, 78], WINDOW + 3, params[0]) for g in first[::3]]
    return [*first, *(f.result(timeout=60) for f in second)]


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_windows_soft_caps_and_sinks_are_sampled_exactly(policy_of, name, temperature):
    policy = policy_of(name, FAMILIES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sampler = Sampler(policy, rows=16, cache_mb=4)
    with sampler:
        assert_drawn_from(policy, roll_out(sampler, temperature), temperature)
        assert sampler.reused_tokens > 0


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt-oss"])
def test_deterministic_decoding_is_exact_too(policy_of, name):
    policy = policy_of(name, FAMILIES[name])
    with Sampler(policy, rows=5, cache_mb=4, deterministic=True) as sampler:
        assert_drawn_from(policy, roll_out(sampler, 1.0))


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_what_the_cache_cannot_hold_is_sampled_row_by_row_and_said(policy_of, name, temperature):
    policy = policy_of(name, ROW_BY_ROW[name])
    with pytest.warns(UserWarning, match="one row at a time"):
        sampler = Sampler(policy, rows=16, cache_mb=4)
    with sampler:
        assert isinstance(sampler._decoder, PlainDecoder)
        assert_drawn_from(policy, roll_out(sampler, temperature), temperature)


def test_windowed_nodes_that_nobody_sees_are_not_read(policy_of, monkeypatch):
    """A prompt far longer than the window: late decode steps touch tails only."""
    from homeground.rollouts import decoding

    policy = policy_of("mistral", FAMILIES["mistral"])
    read = []
    merge_run = decoding._merge_run

    def spy(run, *rest):
        read.append(run)
        merge_run(run, *rest)

    with Sampler(policy, rows=4, cache_mb=4) as sampler:
        monkeypatch.setattr(decoding, "_merge_run", spy)
        done = [sampler.submit(list(range(50)), 2 * WINDOW, SamplingParams(seed=i)) for i in range(2)]
        generations = [f.result(timeout=60) for f in done]
    layers = policy.model.config.num_hidden_layers
    assert len(read) == layers * (WINDOW - 1)
    assert_drawn_from(policy, generations)


def test_frequencies_that_change_with_length_limit_the_context(policy_of):
    half = 8
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * half,
        "long_factor": [4.0] * half,
        "original_max_position_embeddings": 64,
    }
    policy = policy_of(
        "longrope",
        lambda: Phi3Config(**fields(original_max_position_embeddings=64, sliding_window=None), rope_parameters=rope),
    )
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        assert_drawn_from(policy, [sampler.submit(list(range(40)), 24).result(timeout=60)])
        with pytest.raises(ValueError, match="context of 64"):
            sampler.submit(list(range(41)), 24)
