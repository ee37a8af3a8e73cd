"""Rotary embeddings that change once a row outgrows a limit: each row is rotated as if it were alone."""

import warnings

import pytest
import torch
from transformers import LlamaConfig, Phi3Config, Qwen3NextConfig

from homeground.policy import Strategy, StrategyWarning, TokenForest, TokenPath, row_logprobs
from homeground.policy.rope import regime

from ..policy import tiny
from .families import DELTA, TINY
from .rows import gradient, relative, weighted

LIMIT = 20
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": LIMIT,
    "short_factor": [1.0] * 8, "long_factor": [1.0 + i for i in range(8)],
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}
CONFIGS = {
    "longrope": (Phi3Config(**TINY | {"rope_parameters": LONGROPE, "original_max_position_embeddings": LIMIT})),
    "dynamic": (LlamaConfig(**TINY | {"rope_parameters": DYNAMIC, "max_position_embeddings": LIMIT})),
    "longrope with a state": Qwen3NextConfig(**TINY | DELTA | {
        "rope_parameters": LONGROPE, "mlp_only_layers": [0, 1, 2], "partial_rotary_factor": 1.0,
    }),
}  # fmt: skip
PROMPT = [5, 6, 7, 8, 9, 10, 50, 51, 52, 53, 54, 55, 56, 57]
STRADDLING = [
    TokenPath(PROMPT + tail, range(14, 14 + len(tail)))
    for tail in ([1, 2, 3], list(range(20, 29)), list(range(20, 26)), list(range(40, 47)), [1, 2, 3, 4])
]


def load(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tiny.policy_of(tiny.build(tmp_path / "model", CONFIGS[name]))


def alone(policy, paths):
    """Each row through a model that has never seen another: dynamic scaling remembers."""
    values, gradients = [], []
    for seed, path in enumerate(paths):
        twin, lora = tiny.trainable_plain(policy)
        for module in twin.modules():
            if hasattr(module, "original_inv_freq"):
                module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)
                module.max_seq_len_cached = module.original_max_seq_len
        found = row_logprobs(twin, [path])
        weighted(found, seed).backward()
        values.append(found.detach())
        gradients.append(tiny.gradient_of(lora))
    return torch.cat(values), sum(gradients)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_that_straddles_the_limit_equals_rows_alone(tmp_path, name):
    policy = load(tmp_path, name)
    forest = TokenForest.build(STRADDLING)
    with pytest.warns(StrategyWarning, match="both sides of the length"):
        mine = policy.logprobs(forest)
    sum(weighted(mine[forest.path == i], i) for i in range(len(STRADDLING))).backward()
    theirs, their_gradient = alone(policy, STRADDLING)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)
    assert relative(gradient(policy), their_gradient) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_short_rows_after_long_ones_are_what_they_were(tmp_path, name):
    policy = load(tmp_path, name)
    short = TokenForest.build(STRADDLING[:1])
    before = policy.logprobs(short)
    policy.logprobs(TokenForest.build(STRADDLING[1:2]))
    assert torch.equal(policy.logprobs(short), before)


def test_one_side_of_the_limit_is_one_forest_without_a_word(tmp_path):
    policy = load(tmp_path, "longrope")
    assert policy.strategy is Strategy.FOREST
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.logprobs(TokenForest.build([STRADDLING[0], STRADDLING[4]]))
        policy.logprobs(TokenForest.build([STRADDLING[1], STRADDLING[3]]))


def test_the_limit_matters_in_these_tests(tmp_path):
    policy = load(tmp_path, "longrope")
    long = row_logprobs(tiny.plain(policy), [STRADDLING[1]])
    cut = TokenPath(STRADDLING[1].ids[:LIMIT], range(14, LIMIT))
    assert (row_logprobs(tiny.plain(policy), [cut]) - long[: LIMIT - 14]).abs().max() > 1e-3


def test_regimes():
    longrope, dynamic = CONFIGS["longrope"], CONFIGS["dynamic"]
    assert [regime(longrope, n) for n in (1, LIMIT, LIMIT + 1, 100)] == [0, 0, 1, 1]
    assert [regime(dynamic, n) for n in (1, LIMIT, LIMIT + 1, 100)] == [0, 0, LIMIT + 1, 100]
    assert regime(LlamaConfig(**TINY), 10_000) == 0
