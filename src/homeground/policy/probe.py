"""Which strategy a model can do, found by trying: three short rows, checked against the model's own forward.

What a model does with its attention, its state and its logits is in its code, not in its configuration. So at load
each strategy computes three rows that share a prefix and fork twice, and the first whose log-probabilities are those
of the model's own eager forward on plain rows is taken. No gradient, about 60 tokens in all. How much rounding
explains is measured on the spot: one of the rows by itself against the same row in a batch.

A short row in low precision cannot show everything. Forest attention therefore also counts as wrong when a layer
carries a state, attends without our function, or has a window that it does not ask for.
"""

from __future__ import annotations

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
from homeground.policy.logprobs import forest_logprobs, fork_logprobs, row_logprobs
from homeground.policy.strategy import Strategy, StrategyWarning

NOISE = 4
"""A strategy may differ from plain rows by this many times what two ways to compute plain rows differ by."""
LEAST = {torch.float32: 1e-3}
LEAST_IN_HALF = 0.05
"""Mean absolute difference of log-probabilities (nats) that is never held against a strategy."""


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
        noise = float((_by_the_model(model, paths[2:]) - truth[-len(paths[2].trained) :]).abs().mean())
        tolerance = max(NOISE * noise, LEAST.get(model.dtype, LEAST_IN_HALF))
        reasons: list[str] = []
        for trial in _TRIALS:
            try:
                model.set_attn_implementation(trial.implementation)
                found = _try(model, forest, trial.strategy)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, TypeError, ValueError, AttributeError) as cause:
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


def _rows(model: PreTrainedModel) -> list[TokenPath]:
    """Three rows of eight tokens: a fork after four, and one more after a segment of a single token."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randperm(max(15, min(vocabulary, 10_000)), generator=generator)[:15] % vocabulary).tolist()
    prefix, fork = drawn[:4], drawn[4:5]
    rows = [prefix + drawn[5:9], prefix + fork + drawn[9:12], prefix + fork + drawn[12:15]]
    return [TokenPath(ids, range(1, len(ids))) for ids in rows]
