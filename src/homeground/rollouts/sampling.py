"""From logits to a token: temperature, top-k, top-p, and randomness that does not depend on the batch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SamplingParams:
    """How one request is sampled.

    Attributes:
        temperature: 0 takes the most likely token.
        top_p: keep the smallest set of tokens whose probability reaches it.
        top_k: keep this many tokens; 0 keeps all.
        seed: the same seed, prompt and weights give the same tokens, whatever runs beside them.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


def uniform(seed: int, counter: int) -> float:
    """A number in [0, 1) from a counter-based generator: a hash of (seed, counter), 53 bits."""
    digest = hashlib.blake2b(f"{seed}:{counter}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def choose(logits: Tensor, params: list[SamplingParams], counters: list[int]) -> tuple[Tensor, Tensor]:
    """One token a row.

    Args:
        logits: (rows, vocabulary), float32; overwritten.
        params: of each row.
        counters: which token of its row this is, from 0.

    Returns:
        ids (rows,), int64, and their log-probabilities (rows,), float32. Log-probabilities are the policy's own at
        the row's temperature (1 where it is 0), before top-k and top-p: what a trainer recomputes.
    """
    temperature = torch.tensor([p.temperature if p.temperature > 0 else 1.0 for p in params])
    if bool((temperature != 1).any()):
        logits /= temperature[:, None]
    normaliser = torch.logsumexp(logits, -1)
    greedy = torch.tensor([p.temperature <= 0 for p in params])
    ids = torch.empty(len(params), dtype=torch.long)
    if bool(greedy.any()):
        ids[greedy] = logits[greedy].argmax(-1)
    drawn = (~greedy).nonzero()[:, 0].tolist()
    if drawn:
        kept = torch.exp(logits[drawn] - normaliser[drawn, None])
        for row, index in enumerate(drawn):
            if params[index].top_k > 0 or params[index].top_p < 1:
                kept[row] = _truncate(kept[row], params[index])
        # Inverse transform: one uniform number a row instead of one a token of the vocabulary.
        cumulative = kept.cumsum(-1, dtype=torch.float64)
        draws = torch.tensor([uniform(params[i].seed, counters[i]) for i in drawn], dtype=torch.float64)
        points = (draws * cumulative[:, -1])[:, None]
        ids[drawn] = torch.searchsorted(cumulative, points, right=True)[:, 0].clamp_(max=logits.shape[1] - 1)
    return ids, logits.gather(1, ids[:, None])[:, 0] - normaliser


def _truncate(probabilities: Tensor, params: SamplingParams) -> Tensor:
    ordered, where = probabilities.sort(descending=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if params.top_k > 0:
        keep[params.top_k :] = False
    if params.top_p < 1:
        keep &= (ordered.cumsum(0) - ordered) < params.top_p
    return torch.zeros_like(probabilities).scatter(0, where[keep], ordered[keep])
