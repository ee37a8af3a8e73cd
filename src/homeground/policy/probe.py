"""Which strategy a model can do, found by trying: three short rows, checked against the model's own forward.

What a model does with its attention, its state and its logits is in its code, not in its configuration. So at load
each strategy computes three rows that share a prefix and fork twice, and the first whose log-probabilities are those
of the model's own eager forward on plain rows is taken. No gradient, about 100 tokens in all.

Low precision hides small mistakes, and a short row hides a window. So a difference counts against what leaving the
prefix out would make, and a strategy also fails where its means are not used: forest attention when a layer carries a
state, attends without our function, or has a window that it does not ask for; forked states when a layer gives the
same output from another state than the one that it is given.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DummyLayer, DynamicCache, LinearAttentionCacheLayerMixin

from homeground.policy import attention
from homeground.policy.attention import ForestLayout, Scoring
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.fork import continued
from homeground.policy.fork_cache import blank_state
from homeground.policy.logprobs import body, forest_logprobs, fork_logprobs, row_logprobs
from homeground.policy.strategy import Strategy, StrategyWarning

LEAST, LEAST_IN_HALF = 1e-3, 0.02
"""Mean absolute difference of log-probabilities (nats) that is never held against a strategy."""
SHARE = 0.1
"""In half precision, neither is this part of the difference that leaving the prefix out would make."""
PREFIX, TAIL = 8, 8


@dataclass(frozen=True)
class _Trial:
    strategy: Strategy
    implementation: str


_TRIALS = (
    _Trial(Strategy.FOREST, attention.IMPLEMENTATION),
    _Trial(Strategy.FORK, "sdpa"),
    _Trial(Strategy.FORK, "eager"),
    _Trial(Strategy.ROWS, "sdpa"),
)


def prepare(model: PreTrainedModel, name: str) -> Strategy:
    """Find the best strategy of a model and set its attention implementation to match.

    Args:
        model: in evaluation mode, with forest attention; its weights, modes and gradients stay as they are.
        name: for the warning.

    Warns:
        StrategyWarning: the model cannot do a forest in one forward; says why and what it costs.
    """
    paths = _rows(model)
    forest = TokenForest.build(paths).to(model.device)
    with torch.no_grad():
        model.set_attn_implementation("eager")
        truth = _by_the_model(model, paths)
        tolerance = LEAST
        if model.dtype is not torch.float32:
            tails = [TokenPath(path.ids[PREFIX:], range(1, TAIL)) for path in paths]
            kept = truth.view(len(paths), -1)[:, PREFIX:]
            amnesia = float((_by_the_model(model, tails).view_as(kept) - kept).abs().mean())
            tolerance = max(LEAST_IN_HALF, SHARE * amnesia)
        reasons: list[str] = []
        for trial in _TRIALS:
            try:
                model.set_attn_implementation(trial.implementation)
                found = _try(model, forest, trial.strategy)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as cause:
                reasons.append(f"{trial.strategy}: {str(cause).splitlines()[0]}")
                continue
            # NaN compares as different.
            if (gap := float((found - truth).abs().mean())) <= tolerance:
                break
            reasons.append(f"{trial.strategy}: off by {gap:.2g} nats a token")
        else:
            model.set_attn_implementation("eager")
            trial = _Trial(Strategy.ROWS, "eager")
    if trial.strategy is not Strategy.FOREST:
        warnings.warn(f"{name}: {_COST[trial.strategy]} ({'; '.join(reasons)})", StrategyWarning, stacklevel=2)
    return trial.strategy


_COST = {
    Strategy.FORK: "forests are computed segment by segment from forked states, which still costs their distinct "
    "tokens but takes several forwards; see docs/models.md",
    Strategy.ROWS: "forests are computed as plain rows, every shared token once for each row: about 4 times the work "
    "for 8 answers of 64 tokens to a prompt of 512; see docs/models.md",
}


class _WatchedLayout(ForestLayout):
    """Keeps the window that each layer asks for."""

    def __init__(self, forest: TokenForest) -> None:
        super().__init__(forest)
        self.windows: dict[int, int | None] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        self.windows[layer] = scoring.window
        return super().attend(layer, query, key, value, scoring)


def _by_the_model(model: PreTrainedModel, rows: Sequence[TokenPath]) -> Tensor:
    """What the model's own forward says of rows of equal length, each token but the first a term."""
    ids = torch.tensor([list(row.ids) for row in rows], device=model.device)
    scores = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[:, :-1].float(), -1)
    return scores.gather(2, ids[:, 1:, None]).flatten()


def _try(model: PreTrainedModel, forest: TokenForest, strategy: Strategy) -> Tensor:
    if strategy is Strategy.ROWS:
        return row_logprobs(model, forest.paths)
    if strategy is Strategy.FORK:
        _check_states_matter(model, forest.ids[None, : PREFIX + 3])
        return fork_logprobs(model, forest)
    layout = _WatchedLayout(forest)
    found = forest_logprobs(model, forest, layout=layout)
    for index, layer in enumerate(DynamicCache(config=model.config).layers):
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            raise ValueError(f"layer {index} carries a state along its row")
        window = getattr(layer, "sliding_window", None)
        if not isinstance(layer, DummyLayer) and index not in layout.windows:
            raise ValueError(f"layer {index} does not attend through the function that it was given")
        if window is not None and layout.windows[index] != window:
            raise ValueError(f"layer {index} has a window of {window} tokens and does not ask for it")
    return found


def _check_states_matter(model: PreTrainedModel, ids: Tensor) -> None:
    """Raise ValueError when a layer's recurrent state changes nothing: some scans start from zero whatever comes."""
    decoder = body(model)
    state = continued(decoder, ids[:, :PREFIX], blank_state(model.config), 0)[1]
    expected = continued(decoder, ids[:, PREFIX:], state, PREFIX)[0]
    for index, layer in enumerate(state):
        held = getattr(layer, "recurrent_states", {})
        if any(t is not None and bool(t.any()) for t in held.values()):
            other = copy.copy(layer)
            # All ones: what eight tokens leave in a state may be too small to change an output in half precision.
            other.recurrent_states = {i: None if t is None else torch.ones_like(t) for i, t in held.items()}
            found = continued(decoder, ids[:, PREFIX:], [*state[:index], other, *state[index + 1 :]], PREFIX)[0]
            if torch.equal(found, expected):
                raise ValueError(f"layer {index} does not start from the state that it is given")


def _rows(model: PreTrainedModel) -> list[TokenPath]:
    """Three rows of 16 tokens: a fork after eight, and one more after a segment of a single token."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    vocabulary = weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    count = PREFIX + 3 * TAIL
    drawn = (torch.randperm(max(count, min(vocabulary, 10_000)), generator=generator)[:count] % vocabulary).tolist()
    prefix, first, second, third = (drawn[start : start + TAIL] for start in range(0, count, TAIL))
    return [TokenPath(prefix + tail, range(1, PREFIX + TAIL)) for tail in (first, second, second[:1] + third[1:])]
