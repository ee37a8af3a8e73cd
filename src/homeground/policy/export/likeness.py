"""How far a merged model is from what was trained, in log-probabilities of text that was not.

What was trained is the policy as it computes: the base as it was stored (4-bit, say) and the adapter's product beside
it. A merge rounds their sum to the base's number format; a merge onto the original weights changes the base as well.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from homeground.policy.export.weights import MergedWeights
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy

LARGE_MEAN = 0.1
"""Nats a token, mean absolute: a difference above it is warned of. bf16's own noise on a small model is about half."""


@dataclass(frozen=True)
class Difference:
    """Token log-probabilities of two models on the same text.

    Attributes:
        tokens: how many were compared.
        mean, max: absolute difference, nats.
        bits: of the trained policy, mean negative log2-probability a token.
        bits_merged: of the merged model.
    """

    tokens: int
    mean: float
    max: float
    bits: float
    bits_merged: float

    @property
    def large(self) -> bool:
        """Whether a user should know."""
        return self.mean > LARGE_MEAN

    def to_json(self) -> dict[str, Any]:
        """As in the verb's document."""
        return asdict(self)


def held_out(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], tokens: int = 128) -> list[TokenPath]:
    """The beginnings of some texts, every token but the first to be scored."""
    # The tokenizer warns of texts beyond the model's context, of which only the beginning is wanted.
    rows = [tokenizer(text[: 10 * tokens]).input_ids[:tokens] for text in texts]
    return [TokenPath(list(row), list(range(1, len(row)))) for row in rows if len(row) > 1]


def trained_logprobs(policy: Policy, rows: Sequence[TokenPath]) -> Tensor:
    """What the policy gives each token, shape (tokens,), on the CPU."""
    with torch.no_grad():
        return torch.cat([policy.logprobs(TokenForest.build([row])).cpu() for row in rows])


def plain_logprobs(model: PreTrainedModel, rows: Sequence[TokenPath]) -> Tensor:
    """What a plain transformers model gives each token, shape (tokens,), on the CPU."""
    parts: list[Tensor] = []
    for row in rows:
        ids = torch.tensor([row.ids], device=model.device)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        parts.append(logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].cpu())
    return torch.cat(parts)


def compare(trained: Tensor, merged: Tensor) -> Difference:
    """The difference of two rows of log-probabilities, shape (tokens,) each."""
    gap = (trained - merged).abs()
    return Difference(
        tokens=len(gap),
        mean=float(gap.mean()),
        max=float(gap.max()),
        bits=float(-trained.mean() / math.log(2)),
        bits_merged=float(-merged.mean() / math.log(2)),
    )


def plain_model(weights: MergedWeights, dtype: torch.dtype) -> PreTrainedModel:
    """The merged model in plain transformers, on the CPU.

    Values are rounded to the base's number format first, as they are in its files.
    """
    tensors = {name: weights.tensor(name).to(weights.dtype(name)) for name in weights.names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = weights.model_class.from_pretrained(None, config=weights.config, state_dict=tensors, dtype=dtype)
    return model.eval()


def fill(model: nn.Module, weights: MergedWeights) -> None:
    """Give a plain model the tensors of a merge."""
    with torch.no_grad():
        for name in weights.names:
            model.get_parameter(name).copy_(weights.tensor(name).to(weights.dtype(name)))
