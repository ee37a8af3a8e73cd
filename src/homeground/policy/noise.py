"""NEFTune (Jain et al. 2023, arXiv 2310.05914): noise on the embeddings of a training row, ``alpha / sqrt(L d) u``.

u is uniform in [-1, 1], d the width of the model and L the row's length. In a forest the noise is drawn once for each
distinct token, so that rows share that of the prefix that they share, and L is the length of the longest path through
the token. It comes from torch's random state, which checkpoints hold: a resumed run draws what would have come next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.policy.forest import TokenForest
from homeground.policy.strategy import Strategy


class EmbeddingNoise:
    """Noise on what a model's table of embeddings gives, while :meth:`of` is entered.

    Args:
        model: of the trainer; copies of it get none.

    Attributes:
        alpha: how much; 0 is none.
        on: whether the model is being trained now.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.alpha = 0.0
        self.on = False
        self._lengths: Tensor | None = None
        table = model.get_input_embeddings()

        def add(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            del arguments
            # A twin's table is another module with the same hook.
            return output if self._lengths is None or module is not table else self._noisy(output, self._lengths)

        table.register_forward_hook(add)

    @contextlib.contextmanager
    def of(self, forest: TokenForest, strategy: Strategy) -> Generator[None]:
        """Forwards of a forest, on its device.

        Raises:
            HomegroundError: the model computes forests from forked states, where a row is not one forward.
        """
        if not (self.on and self.alpha and torch.is_grad_enabled()):
            yield
            return
        if strategy is Strategy.FORK:
            raise HomegroundError(
                "noise on embeddings is not there for models that run forests from forked states",
                where="sft.neftune_alpha",
                hint="set it to 0",
            )
        self._lengths = longest_paths(forest)
        try:
            yield
        finally:
            self._lengths = None

    def _noisy(self, output: Tensor, lengths: Tensor) -> Tensor:
        count, width = output.shape[-2:]
        # A row by itself is shorter than its forest, and is one path.
        longest = lengths if len(lengths) == count else lengths.new_full((count,), count)
        scale = self.alpha / (longest * width).float().sqrt()
        return output + torch.empty_like(output).uniform_(-1, 1) * scale[:, None].to(output.dtype)


def longest_paths(forest: TokenForest) -> Tensor:
    """Length of the longest path through each token of a forest, shape (N,), int64."""
    lengths = torch.empty_like(forest.positions)
    for segment in forest.segments:
        lengths[segment.start : segment.stop] = forest.positions[segment.start : segment.below].max() + 1
    return lengths
