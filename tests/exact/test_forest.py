"""The contract of the token forest on one family: at any shape, temperature, dtype and chunking."""

from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.policy import TokenForest, TokenPath, attention, row_logprobs

from ..policy import tiny
from .rows import assert_equal_rows, gradient, relative, trees, weighted

SIBLINGS = [TokenPath([9, 8, 7, *tail], list(range(3, 3 + len(tail)))) for tail in ([1, 2, 3], [4, 5, 6, 7], [20, 21])]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees(), st.sampled_from([0.6, 1.0, 1.7]), st.sampled_from([1, 20, 512]))
def test_any_tree_at_any_temperature_and_block_size_equals_plain_rows(policy, paths, temperature, block):
    with mock.patch.object(attention, "BLOCK", block):
        assert_equal_rows(policy, paths, temperature)


def test_a_wide_and_deep_tree_equals_plain_rows(policy):
    assert_equal_rows(policy, tiny.random_paths(3, depth=4, fan=3)[:40])


def test_the_gradient_reaches_both_factors_of_every_layer(policy):
    weighted(policy.logprobs(TokenForest.build(tiny.random_paths(0)))).backward()
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in policy.trainable().values())
    assert len(policy.trainable()) == 2 * 7 * 2


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


def test_a_path_given_twice_counts_twice(policy):
    policy.logprobs(TokenForest.build(SIBLINGS[:1])).sum().backward()
    once = gradient(policy)
    policy.logprobs(TokenForest.build([SIBLINGS[0]] * 2)).sum().backward()
    assert relative(gradient(policy), 2 * once) < 1e-6


def test_a_nested_path_is_scored_inside_the_longer_one(policy):
    paths = [TokenPath([1, 2, 3, 4, 5, 6], [3, 5]), TokenPath([1, 2, 3, 4], [1, 3]), TokenPath([1, 2], [])]
    assert_equal_rows(policy, paths)


def test_temperature_divides_the_logits(policy):
    paths = [TokenPath([1, 2, 3, 4], [3])]
    twin = tiny.plain(policy)
    logits = twin(torch.tensor([[1, 2, 3]])).logits[0, -1]
    expected = torch.log_softmax(logits / 0.5, -1)[4]
    torch.testing.assert_close(policy.logprobs(TokenForest.build(paths), 0.5)[0], expected, rtol=1e-5, atol=1e-5)


def test_bf16_gradients_lie_in_float32_masters_and_point_the_same_way(llama):
    exact, policy = tiny.policy_of(llama), tiny.policy_of(llama, dtype=torch.bfloat16)
    forest = TokenForest.build(tiny.random_paths(6))
    flat = []
    for p in (exact, policy):
        weighted(p.logprobs(forest)).backward()
        flat.append(gradient(p))
    assert all(p.dtype is torch.float32 for p in policy.trainable().values())
    assert torch.cosine_similarity(flat[0], flat[1], dim=0) > 0.999


def test_plain_rows_through_a_forest_shell_without_a_layout_are_refused(policy):
    with pytest.raises(RuntimeError, match="does not pass the 'forest' keyword"):
        row_logprobs(policy.model, SIBLINGS)
