"""Siblings do not see each other: not even their bits change when one of them does."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.policy import TokenForest, TokenPath, attention

from ..policy import tiny
from .families import FAMILIES
from .rows import trees

SIBLINGS = [TokenPath([9, 8, 7, *tail], list(range(3, 3 + len(tail)))) for tail in ([1, 2, 3], [4, 5, 6, 7], [20, 21])]
PRECISIONS = pytest.mark.parametrize(("dtype", "quantization"), [
    (torch.float32, "none"), (torch.bfloat16, "none"), (torch.float32, "nf4"), (torch.bfloat16, "nf4"),
])  # fmt: skip
QUIET = pytest.mark.filterwarnings("ignore::homeground.policy.strategy.StrategyWarning")


def assert_an_edit_stays_at_home(policy):
    edited = [SIBLINGS[0], TokenPath([9, 8, 7, 40, 50, 60, 70], [3, 4, 5, 6]), SIBLINGS[2]]
    before, after = TokenForest.build(SIBLINGS), TokenForest.build(edited)
    assert before.segments == after.segments
    mine, theirs = policy.logprobs(before), policy.logprobs(after)
    others = before.path != 1
    assert torch.equal(mine[others], theirs[others])
    assert not torch.equal(mine[~others], theirs[~others])


@pytest.mark.parametrize("block", [1, 512])
@PRECISIONS
def test_sibling_edit_leaves_others_bit_identical(llama, monkeypatch, dtype, quantization, block):
    monkeypatch.setattr(attention, "BLOCK", block)
    assert_an_edit_stays_at_home(tiny.policy_of(llama, dtype=dtype, quantization=quantization))


@QUIET
@pytest.mark.parametrize("name", ["Mistral with a window", "Qwen 3.5", "LFM 2"])
@PRECISIONS
def test_sibling_edit_leaves_others_bit_identical_in_other_families(tmp_path, name, dtype, quantization):
    folder = tiny.build(tmp_path / "model", FAMILIES[name].config)
    assert_an_edit_stays_at_home(tiny.policy_of(folder, dtype=dtype, quantization=quantization))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    folder = tiny.build(tmp_path_factory.getbasetemp() / "Qwen-3.5-siblings", FAMILIES["Qwen 3.5"].config)
    return tiny.policy_of(folder)


@QUIET
@pytest.mark.parametrize("kind", ["policy", "hybrid"])
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_paths_in_another_order_get_the_same_logprobs(request, kind, data):
    policy = request.getfixturevalue(kind)
    paths = data.draw(trees())
    order = data.draw(st.permutations(range(len(paths))))
    forest, turned = TokenForest.build(paths), TokenForest.build([paths[i] for i in order])
    mine, theirs = policy.logprobs(forest), policy.logprobs(turned)
    for place, index in enumerate(order):
        torch.testing.assert_close(mine[forest.path == index], theirs[turned.path == place], rtol=1e-5, atol=1e-5)
