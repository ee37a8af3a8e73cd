"""The contract of the token forest: log-probabilities and gradients are those of plain rows."""

from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GraniteConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
)

from homeground.policy import TokenForest, TokenPath, attention, row_logprobs

from . import tiny

TINY = {
    "vocab_size": 266,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "bos_token_id": 263,
    "eos_token_id": 264,
    "pad_token_id": 262,
}


def relative(mine, theirs):
    return float((mine - theirs).norm() / theirs.norm())


def weighted(values, seed=0):
    """A scalar in which every term counts differently."""
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    return (values * weights.to(values.dtype)).sum()


def forest_and_rows(policy, paths, temperature=1.0, attention="eager"):
    """Log-probabilities and gradients, by the forest and by plain rows."""
    forest = TokenForest.build(paths)
    mine = policy.logprobs(forest, temperature)
    weighted(mine).backward()
    my_gradient = gradient(policy)
    twin, lora = tiny.trainable_plain(policy, attention)
    theirs = row_logprobs(twin, paths, temperature)
    weighted(theirs).backward()
    return (mine.detach(), my_gradient), (theirs.detach(), tiny.gradient_of(lora))


def gradient(policy):
    parameters = list(policy.trainable().values())
    flat = tiny.gradient_of(parameters)
    for parameter in parameters:
        parameter.grad = None
    return flat


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([0.6, 1.0, 1.7]),
    st.sampled_from([1, 20, 512]),
)
def test_logprobs_and_gradients_equal_plain_rows_at_any_depth_and_temperature(
    policy, seed, depth, fan, temperature, block
):
    paths = tiny.random_paths(seed, depth=depth, fan=fan)[:12]
    with mock.patch.object(attention, "BLOCK", block):
        (mine, my_gradient), (theirs, their_gradient) = forest_and_rows(policy, paths, temperature)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert relative(my_gradient, their_gradient) < 1e-5


def test_the_gradient_reaches_both_factors_of_every_layer(policy):
    weighted(policy.logprobs(TokenForest.build(tiny.random_paths(0)))).backward()
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in policy.trainable().values())
    assert len(policy.trainable()) == 2 * 7 * 2


@pytest.mark.parametrize("deep", [1, 3])
def test_gradient_checkpointing_changes_nothing(tmp_path, deep):
    folder = tiny.build(tmp_path / "model", tiny.llama_config(num_hidden_layers=deep))
    policy = tiny.policy_of(folder)
    forest = TokenForest.build(tiny.random_paths(1))
    weighted(policy.logprobs(forest)).backward()
    plainly = gradient(policy)
    policy.model.activation_checkpointing_enable()
    policy.peft.train()
    calls = []
    layer = policy.model.model.layers[0]
    handle = layer.self_attn.register_forward_pre_hook(lambda *_: calls.append(1))
    weighted(policy.logprobs(forest)).backward()
    handle.remove()
    assert len(calls) == 2, "the layer was not recomputed: checkpointing was off"
    assert torch.equal(gradient(policy), plainly)


def test_more_nodes_than_a_chunk_of_the_head(policy, monkeypatch):
    paths = tiny.random_paths(2)
    forest = TokenForest.build(paths)
    whole = policy.logprobs(forest)
    weighted(whole).backward()
    expected = gradient(policy)
    monkeypatch.setattr("homeground.policy.logprobs.HEAD_CHUNK", 5)
    chunked = policy.logprobs(forest)
    weighted(chunked).backward()
    torch.testing.assert_close(chunked, whole)
    assert relative(gradient(policy), expected) < 1e-6


def test_bf16_is_as_close_to_fp32_as_plain_bf16_rows_are(llama):
    exact = tiny.policy_of(llama)
    policy = tiny.policy_of(llama, dtype=torch.bfloat16)
    paths = tiny.random_paths(6)
    forest = TokenForest.build(paths)
    truth = row_logprobs(tiny.plain(exact), paths)
    twin = tiny.plain(policy, "sdpa")
    with policy.autocast():
        rows = row_logprobs(twin, paths)
    mine = policy.logprobs(forest)
    assert (mine - truth).abs().mean() <= 1.5 * (rows - truth).abs().mean()
    assert (mine - truth).abs().max() <= 2.0 * (rows - truth).abs().max()
    assert (mine - truth).abs().mean() > 0, "this ran in float32"


def test_bf16_gradients_lie_in_float32_masters_and_point_the_same_way(llama):
    exact, policy = tiny.policy_of(llama), tiny.policy_of(llama, dtype=torch.bfloat16)
    forest = TokenForest.build(tiny.random_paths(6))
    flat = []
    for p in (exact, policy):
        weighted(p.logprobs(forest)).backward()
        flat.append(gradient(p))
    assert all(p.dtype is torch.float32 for p in policy.trainable().values())
    assert torch.cosine_similarity(flat[0], flat[1], dim=0) > 0.999


SIBLINGS = [TokenPath([9, 8, 7, *tail], list(range(3, 3 + len(tail)))) for tail in ([1, 2, 3], [4, 5, 6, 7], [20, 21])]


@pytest.mark.parametrize("block", [1, 512])
@pytest.mark.parametrize(("dtype", "quantization"), [
    (torch.float32, "none"), (torch.bfloat16, "none"), (torch.float32, "nf4"), (torch.bfloat16, "nf4"),
])  # fmt: skip
def test_sibling_edit_leaves_others_bit_identical(llama, monkeypatch, dtype, quantization, block):
    monkeypatch.setattr(attention, "BLOCK", block)
    policy = tiny.policy_of(llama, dtype=dtype, quantization=quantization)
    edited = [SIBLINGS[0], TokenPath([9, 8, 7, 40, 50, 60, 70], [3, 4, 5, 6]), SIBLINGS[2]]
    before, after = TokenForest.build(SIBLINGS), TokenForest.build(edited)
    assert before.segments == after.segments
    mine, theirs = policy.logprobs(before), policy.logprobs(after)
    others = before.path != 1
    assert torch.equal(mine[others], theirs[others])
    assert not torch.equal(mine[~others], theirs[~others])


def test_siblings_in_another_order_get_the_same_logprobs(policy):
    forest, turned = TokenForest.build(SIBLINGS), TokenForest.build(SIBLINGS[::-1])
    mine, theirs = policy.logprobs(forest), policy.logprobs(turned)
    for index in range(3):
        torch.testing.assert_close(mine[forest.path == index], theirs[turned.path == 2 - index], rtol=1e-5, atol=1e-6)


def test_a_path_given_twice_counts_twice(policy):
    policy.logprobs(TokenForest.build(SIBLINGS[:1])).sum().backward()
    once = gradient(policy)
    policy.logprobs(TokenForest.build([SIBLINGS[0]] * 2)).sum().backward()
    assert relative(gradient(policy), 2 * once) < 1e-6


def test_a_nested_path_is_scored_inside_the_longer_one(policy):
    paths = [TokenPath([1, 2, 3, 4, 5, 6], [3, 5]), TokenPath([1, 2, 3, 4], [1, 3]), TokenPath([1, 2], [])]
    (mine, my_gradient), (theirs, their_gradient) = forest_and_rows(policy, paths)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert relative(my_gradient, their_gradient) < 1e-5


def test_temperature_divides_the_logits(policy):
    paths = [TokenPath([1, 2, 3, 4], [3])]
    twin = tiny.plain(policy)
    logits = twin(torch.tensor([[1, 2, 3]])).logits[0, -1]
    expected = torch.log_softmax(logits / 0.5, -1)[4]
    torch.testing.assert_close(policy.logprobs(TokenForest.build(paths), 0.5)[0], expected, rtol=1e-5, atol=1e-5)


FAMILIES = {
    "Qwen 2": Qwen2Config(**TINY),
    "Qwen 3": Qwen3Config(**TINY, head_dim=16),
    "Mistral with a window": MistralConfig(**TINY, sliding_window=4),
    "Gemma 2 with soft caps and a window": Gemma2Config(
        **TINY, head_dim=16, sliding_window=4, attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
        query_pre_attn_scalar=16,
    ),
    "Gemma 3 with a window": Gemma3TextConfig(
        **TINY, head_dim=16, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "Phi 3": Phi3Config(**TINY),
    "OLMo 2": Olmo2Config(**TINY),
    "Cohere with a logit scale": CohereConfig(**TINY, logit_scale=0.3),
    "Granite with scaled logits": GraniteConfig(**TINY, logits_scaling=3.0, attention_multiplier=0.2),
    "GPT-NeoX": GPTNeoXConfig(**TINY),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_equals_its_own_forward_on_plain_rows(family, tmp_path):
    policy = tiny.policy_of(tiny.build(tmp_path / "model", FAMILIES[family]))
    paths = tiny.random_paths(7, depth=2, longest=8)[:8]
    (mine, my_gradient), (theirs, their_gradient) = forest_and_rows(policy, paths, temperature=0.8)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)
    assert relative(my_gradient, their_gradient) < 1e-5


@pytest.mark.parametrize("family", ["Mistral with a window", "Gemma 2 with soft caps and a window"])
def test_the_window_and_the_caps_matter_in_these_tests(family, tmp_path):
    """Without this, the families' tests could pass while nothing of the kind was applied."""
    policy = tiny.policy_of(tiny.build(tmp_path / "model", FAMILIES[family]))
    paths = tiny.random_paths(7, depth=2, longest=8)[:8]
    bare = AutoModelForCausalLM.from_pretrained(policy.folder, attn_implementation="eager", dtype=torch.float32)
    full = row_logprobs(bare, paths)
    for switch in ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping"):
        kept = getattr(bare.config, switch, None)
        if kept is None:
            continue
        setattr(bare.config, switch, type(kept)(1_000_000))
        for layer in bare.model.layers:
            setattr(layer.self_attn, switch, type(kept)(1_000_000))
        assert (row_logprobs(bare, paths) - full).abs().max() > 1e-3, switch
        setattr(bare.config, switch, kept)
        for layer in bare.model.layers:
            setattr(layer.self_attn, switch, kept)


def test_a_model_that_drops_the_layout_raises_instead_of_mixing_rows(tmp_path):
    policy = tiny.policy_of(tiny.build(tmp_path / "model", StableLmConfig(**TINY)))
    with pytest.raises(RuntimeError, match="does not pass the 'forest' keyword"):
        policy.logprobs(TokenForest.build(SIBLINGS))


def test_plain_rows_through_a_forest_shell_without_a_layout_are_refused(policy):
    with pytest.raises(RuntimeError, match="does not pass the 'forest' keyword"):
        row_logprobs(policy.model, SIBLINGS)
