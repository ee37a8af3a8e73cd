"""From logits to a token: temperature, top-k, top-p, min-p, and randomness that does not depend on the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 512


@dataclass(frozen=True)
class SamplingParams:
    """How one request is sampled. Each truncation looks at the whole distribution; a token stays if all keep it.

    Attributes:
        temperature: 0 takes the most likely token.
        top_p: keep the smallest set of tokens whose probability reaches it.
        top_k: keep this many tokens; 0 keeps all.
        seed: the same seed, prompt and weights give the same tokens, whatever runs beside them.
        min_p: keep tokens at least this share as likely as the likeliest.
        likeliest: how many of the likeliest tokens are told at each step, with their log-probabilities.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    min_p: float = 0.0
    likeliest: int = 0

    @property
    def truncates(self) -> bool:
        """True when some tokens may be ruled out."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


def uniform(seed: int, counter: int) -> float:
    """A number in [0, 1) from a counter-based generator: a hash of (seed, counter), 53 bits."""
    digest = hashlib.blake2b(f"{seed}:{counter}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def call_seed(seed: int, step: int, task: int, sibling: int, call: int) -> int:
    """The seed of one model call of one rollout, 53 bits: nothing of when or beside what it runs goes in.

    Args:
        seed: of the run.
        step: of the optimizer.
        task: index of the task in its step.
        sibling: index of the rollout in its group.
        call: which call of the rollout, from 0.
    """
    digest = hashlib.blake2b(f"{seed}:{step}:{task}:{sibling}:{call}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 11


def likeliest(logits: Tensor, params: SamplingParams) -> list[tuple[int, float]]:
    """The likeliest tokens of one row, best first, and their log-probabilities at its temperature.

    Args:
        logits: (vocabulary,), float32; left as they are.
        params: of the row.
    """
    scores = torch.log_softmax(logits / (params.temperature if params.temperature > 0 else 1.0), -1)
    best = scores.topk(params.likeliest)
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def choose(
    logits: Tensor,
    params: Sequence[SamplingParams],
    counters: Sequence[int],
    allowed: Mapping[int, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One token a row.

    Args:
        logits: (rows, vocabulary), float32; overwritten.
        params: of each row.
        counters: which token of its row this is, from 0.
        allowed: of rows that must not take every token, those that they may take, (vocabulary,), bool.

    Returns:
        ids (rows,), int64, and their log-probabilities (rows,), float32. Log-probabilities are the policy's own at
        the row's temperature (1 where it is 0), before any truncation: what a trainer recomputes.
    """
    if logits.device.type == "mps":
        logits = logits.cpu()  # inverse transform sampling wants float64, which MPS has not
    device = logits.device
    if any(p.temperature not in (0, 1) for p in params):
        temperature = torch.tensor([p.temperature if p.temperature > 0 else 1.0 for p in params], device=device)
        logits /= temperature[:, None]
    normaliser = torch.logsumexp(logits, -1)
    # What is drawn from; log-probabilities stay the policy's own.
    scale = normaliser
    for row, some in (allowed or {}).items():
        logits[row].masked_fill_(~some.to(device), -torch.inf)
        scale = scale if scale is not normaliser else normaliser.clone()
        scale[row] = torch.logsumexp(logits[row], -1)
    drawn = [i for i, p in enumerate(params) if p.temperature > 0]
    everyone = len(drawn) == len(params)
    ids = logits.argmax(-1) if not everyone else torch.empty(0, dtype=torch.long, device=device)
    if drawn:
        some = logits if everyone else logits[drawn]
        kept = torch.exp(some - (scale if everyone else scale[drawn])[:, None])
        cut = [at for at, i in enumerate(drawn) if params[i].truncates]
        if cut:
            kept[cut] = _truncate(kept[cut], [params[drawn[at]] for at in cut])
        draws = [uniform(params[i].seed, counters[i]) for i in drawn]
        found = _invert(kept, torch.tensor(draws, dtype=torch.float64, device=device)[:, None])
        ids = found if everyone else ids.index_copy(0, torch.tensor(drawn, device=device), found)
    return ids, logits.gather(1, ids[:, None])[:, 0] - normaliser


def _invert(weights: Tensor, draws: Tensor) -> Tensor:
    """The inverse transform: the first token at which the running sum passes the draw's share of the total.

    One uniform number a row instead of one a token, and running sums in float64 over blocks and over one block
    instead of over the vocabulary. A token of weight zero is never found.

    Args:
        weights: (rows, vocabulary), float32, not negative, some positive in each row.
        draws: (rows, 1), float64, in [0, 1).
    """
    blocks = functional.pad(weights, (0, -weights.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    sums = blocks.sum(-1).double()
    above = sums.cumsum(-1)
    point = draws * above[:, -1:]
    block = torch.searchsorted(above, point, right=True).clamp_(max=sums.shape[1] - 1)
    size = sums.gather(1, block)
    # What is left of the draw within its block; the largest float64 below 1 keeps it there.
    left = ((point - (above.gather(1, block) - size)) / size).clamp_(0, 1 - 2**-53)
    inside = blocks.gather(1, block[..., None].expand(-1, -1, BLOCK))[:, 0].double().cumsum(-1)
    return (block * BLOCK + torch.searchsorted(inside, left * inside[:, -1:], right=True))[:, 0]


def _truncate(probabilities: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Zero what top-k, top-p and min-p rule out; probabilities (rows, vocabulary)."""
    device = probabilities.device
    min_p = torch.tensor([p.min_p for p in params], device=device)[:, None]
    kept = probabilities.masked_fill(probabilities < min_p * probabilities.amax(-1, keepdim=True), 0)
    if not any(p.top_k > 0 or p.top_p < 1 for p in params):
        return kept
    size = probabilities.shape[1]
    top_k = torch.tensor([p.top_k if p.top_k > 0 else size for p in params], device=device)[:, None]
    top_p = torch.tensor([p.top_p if p.top_p < 1 else torch.inf for p in params], device=device)[:, None]
    ordered, where = probabilities.sort(descending=True, stable=True)
    dropped = (ordered.cumsum(-1) - ordered) >= top_p
    dropped |= torch.arange(size, device=device)[None] >= top_k
    # Also for a share that float32 rounds to nothing.
    dropped[:, 0] = False
    return kept.masked_fill(torch.zeros_like(dropped).scatter(1, where, dropped), 0)
