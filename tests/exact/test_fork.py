"""Forked states: which segments run together, what is shared, and what is refused."""

import inspect
import warnings

import pytest
import torch
from hypothesis import given
from transformers.cache_utils import DynamicCache

from homeground.policy import TokenForest, TokenPath
from homeground.policy.fork import PADDING, forked_hidden, schedule
from homeground.policy.fork_cache import ForkedCache, blank_state
from homeground.policy.logprobs import body

from ..policy import tiny
from .families import FAMILIES
from .rows import gradient, trees

DEEP = tiny.random_paths(7, depth=2, longest=8)[:8]


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    folder = tiny.build(tmp_path_factory.getbasetemp() / "Qwen-3.5-fork", FAMILIES["Qwen 3.5"].config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tiny.policy_of(folder)


@given(trees())
def test_every_segment_runs_once_after_the_one_it_continues(paths):
    forest = TokenForest.build(paths)
    finished = {-1}
    ended = []
    for batch in schedule(forest):
        assert batch.origin in finished
        for row in batch.rows:
            segment = forest.segments[row.segment]
            assert row.nodes[-1] == segment.stop - 1
            above = forest.segments[batch.origin].stop if batch.origin >= 0 else 0
            depth = int(forest.positions[above - 1]) + 1 if batch.origin >= 0 else 0
            assert forest.positions[list(row.nodes)].tolist() == list(range(depth, depth + len(row.nodes)))
            ended.append(row.segment)
            if not row.leaf:
                assert len(row.nodes) == batch.width, "padding would go into the state"
                finished.add(row.segment)
        assert batch.origin < 0 or batch.width > 1, "decoding code would write into the shared state"
    assert len(ended) == len(set(ended))
    children = forest.children()
    left_out = set(range(len(forest.segments))) - set(ended)
    assert all(forest.segments[i].stop - forest.segments[i].start == 1 and i in children for i in left_out)


@given(trees())
def test_every_token_runs_and_only_single_ones_before_a_fork_run_again(paths):
    forest = TokenForest.build(paths)
    nodes = [n for batch in schedule(forest) for row in batch.rows for n in row.nodes]
    assert set(nodes) == set(range(len(forest)))
    single = {s.start for s in forest.segments if s.stop - s.start == 1}
    assert {n for n in nodes if nodes.count(n) > 1} <= single


def test_leaves_of_similar_lengths_share_a_batch_with_little_padding():
    tails = [list(range(100 + 50 * i, 100 + 50 * i + n)) for i, n in enumerate([8, 9, 10, 30, 31, 2])]
    forest = TokenForest.build([TokenPath([1, 2, 3, *tail], [3]) for tail in tails])
    widths = [batch.width for batch in schedule(forest)]
    assert widths == [3, 2, 10, 31]
    for batch in schedule(forest)[2:]:
        computed = batch.width * len(batch.rows)
        assert computed - sum(len(r.nodes) for r in batch.rows) <= PADDING * computed


def test_a_forked_cache_leaves_the_state_it_continues_as_it_was(hybrid):
    decoder = body(hybrid.model)
    state = blank_state(hybrid.model.config)
    for ids in ([[1, 2, 3, 4, 5]], [[6, 7]]):
        kept = [t.clone() for t in tensors(state)]
        again = []
        for _ in range(2):
            cache = ForkedCache(state)
            again.append(decoder(input_ids=torch.tensor(ids), past_key_values=cache, use_cache=False).last_hidden_state)
            after = cache.close()
        assert torch.equal(*again)
        assert all(torch.equal(a, b) for a, b in zip(kept, tensors(state), strict=True))
        state = after
    assert tensors(state)


def tensors(state):
    held = [t for layer in state for t in (getattr(layer, "keys", None), getattr(layer, "values", None))]
    for layer in state:
        for name in ("conv_states", "recurrent_states"):
            held += getattr(layer, name, {}).values()
    return [t for t in held if t is not None]


def test_gradients_reach_the_prefix_from_every_sibling(hybrid):
    """With only one sibling trained at a time, the adapter's gradients add up to those of all."""
    paths = [TokenPath([9, 8, 7, 6, *tail], [5]) for tail in ([1, 2, 3], [4, 5, 6], [20, 21])]
    weighted_one_by_one = []
    for index in range(3):
        only = [TokenPath(p.ids, p.trained if i == index else []) for i, p in enumerate(paths)]
        hybrid.logprobs(TokenForest.build(only)).sum().backward()
        weighted_one_by_one.append(gradient(hybrid))
    hybrid.logprobs(TokenForest.build(paths)).sum().backward()
    together = gradient(hybrid)
    torch.testing.assert_close(sum(weighted_one_by_one), together, rtol=1e-4, atol=1e-6)
    assert all(float(g.norm()) > 0 for g in weighted_one_by_one)


def test_reentrant_checkpointing_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy = tiny.policy_of(tiny.build(tmp_path / "model", FAMILIES["Qwen 3.5"].config))
    policy.peft.train()
    policy.model.activation_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(RuntimeError, match="reentrant checkpointing loses the gradients"):
        policy.logprobs(TokenForest.build(DEEP))


def test_a_model_that_ignores_its_cache_is_refused(hybrid, monkeypatch):
    decoder = body(hybrid.model)
    forward = type(decoder).forward

    def forgetful(self, *args, past_key_values=None, **kwargs):
        return forward(self, *args, **kwargs)

    forgetful.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(type(decoder), "forward", forgetful)
    with pytest.raises(RuntimeError, match="does not hand its cache to 3 of its 3 layers"):
        forked_hidden(hybrid.model, decoder, TokenForest.build(DEEP))


def test_a_state_of_another_kind_is_refused(hybrid, monkeypatch):
    class Novel:
        pass

    monkeypatch.setattr(DynamicCache, "__init__", lambda self, config: setattr(self, "layers", [Novel()]))
    with pytest.raises(NotImplementedError, match="Novel: this kind of state cannot be forked"):
        blank_state(hybrid.model.config)
