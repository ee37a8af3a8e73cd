"""Three ways to the same log-probabilities, and the one function that picks among them.

=======  ==================================================================  ============================
FOREST   one forward of the distinct tokens, forest attention                models made of attention
FORK     segment by segment, each from its parent's state, distinct tokens   linear attention, SSM, hybrids
ROWS     every path by itself, the model's own forward                       whatever else
=======  ==================================================================  ============================
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from enum import StrEnum

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.policy.forest import TokenForest
from homeground.policy.logprobs import forest_logprobs, fork_logprobs, row_logprobs
from homeground.policy.rope import forget_longest_row, regime


class Strategy(StrEnum):
    """How a model's forests are computed."""

    FOREST = "forest"
    FORK = "fork"
    ROWS = "rows"


class StrategyWarning(UserWarning):
    """A model or a batch costs more than its distinct tokens in one forward."""


def logprobs(model: PreTrainedModel, forest: TokenForest, temperature: float, strategy: Strategy) -> Tensor:
    """Log-probability of every term of a forest, shape (M,), float32, in the forest's term order.

    Args:
        model: prepared for the strategy (:func:`homeground.policy.probe.prepare`).
        forest: the batch, on the model's device.
        temperature: logits are divided by it, exactly as the sampler did (> 0).
        strategy: of this model.
    """
    regimes: dict[int, list[int]] = defaultdict(list)
    for index, path in enumerate(forest.paths):
        regimes[regime(model.config, len(path.ids))].append(index)
    if len(regimes) == 1:
        return _in_one_regime(model, forest, temperature, strategy, next(iter(regimes)))
    if strategy is not Strategy.ROWS:
        warnings.warn(
            f"{model.config.name_or_path or type(model).__name__}: rows of one batch lie on both sides of the length "
            "at which this model changes its rotary embedding; each side is computed by itself, their common prompt "
            "once on each",
            StrategyWarning,
            stacklevel=2,
        )
    values: list[Tensor] = []
    terms: list[Tensor] = []
    for kind, paths in sorted(regimes.items()):
        part = TokenForest.build([forest.paths[i] for i in paths]).to(forest.ids.device)
        terms += [torch.nonzero(forest.path == i)[:, 0] for i in paths]
        if len(part.path):
            values.append(_in_one_regime(model, part, temperature, strategy, kind))
    return torch.cat(values)[torch.argsort(torch.cat(terms))]


def _in_one_regime(
    model: PreTrainedModel, forest: TokenForest, temperature: float, strategy: Strategy, kind: int
) -> Tensor:
    forget_longest_row(model)
    # A prefix by itself is shorter than its rows: forked states would come from the short rows' regime.
    if strategy is Strategy.ROWS or (strategy is Strategy.FORK and kind):
        return row_logprobs(model, forest.paths, temperature)
    score = forest_logprobs if strategy is Strategy.FOREST else fork_logprobs
    return score(model, forest, temperature)
