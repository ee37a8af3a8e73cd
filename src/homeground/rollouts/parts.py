"""One part of attention with its log-sum-exp, whatever the device and whatever the model does to scores.

On the CPU an ordinary part is one fused kernel. Everything else (other devices, soft caps, sliding windows) takes
:func:`plain_part`: the equations written out, in float32, a block of queries at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from homeground.policy import attention
from homeground.policy.attention import Scoring

SCORES_AT_ONCE = 1 << 26


def part(
    query: Tensor, key: Tensor, value: Tensor, scoring: Scoring, *, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of some queries to some keys.

    Args:
        query: (B, H, Q, D).
        key, value: (B, H, K, D).
        scoring: its scale and soft cap are applied; windows are the caller's masks, sinks come with :func:`sink`.
        causal: query i sees keys up to i.
        mask: additive float in the query's dtype where a fused kernel runs (:func:`fused`), else bool, True = seen.

    Returns:
        Output like query, and the log-sum-exp of the scores (B, H, Q), float32, natural logarithm. A query that
        sees nothing gets zeros and -inf.
    """
    if fused(query, scoring, mask):
        return attention.part(query, key, value, scoring.scale, causal=causal, mask=mask)
    return plain_part(query, key, value, scoring, causal=causal, mask=mask)


def fused(query: Tensor, scoring: Scoring, mask: Tensor | None = None) -> bool:
    """Whether :func:`part` is one kernel for these."""
    return query.device.type == "cpu" and scoring.softcap is None and (mask is None or mask.dtype is not torch.bool)


def plain_part(
    query: Tensor, key: Tensor, value: Tensor, scoring: Scoring, *, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See :func:`part`; mask is bool."""
    if causal:
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
        mask = seen if mask is None else mask & seen
    keys, values = key.float().transpose(-1, -2), value.float()
    rows = max(1, SCORES_AT_ONCE // max(1, query.shape[0] * query.shape[1] * key.shape[2]))
    outs: list[Tensor] = []
    sums: list[Tensor] = []
    for start in range(0, query.shape[2], rows):
        some = slice(start, start + rows)
        scores = (query[:, :, some].float() @ keys).mul_(scoring.scale)
        if scoring.softcap is not None:
            scores = scores.div_(scoring.softcap).tanh_().mul_(scoring.softcap)
        if mask is not None:
            scores = scores.masked_fill_(~(mask if mask.shape[-2] == 1 else mask[..., some, :]), -torch.inf)
        lse = torch.logsumexp(scores, -1)
        weights = scores.sub_(lse.masked_fill(lse == -torch.inf, 0)[..., None]).exp_()
        outs.append((weights @ values).to(query.dtype))
        sums.append(lse)
    return torch.cat(outs, 2), torch.cat(sums, 2)


def sink(out: Tensor, lse: Tensor, sinks: Tensor) -> None:
    """Let attention sinks take their share of the weight, in place.

    Args:
        out: (.., Q, D), complete over all keys.
        lse: (.., Q), of it.
        sinks: broadcast against lse.
    """
    out.mul_(torch.sigmoid(lse - sinks.float())[..., None])


def within(queries: Tensor, keys: Tensor, window: int | None) -> Tensor | None:
    """Which keys lie less than ``window`` positions behind a query: (Q, K) bool, None when all do."""
    if window is None or int(queries.max()) - int(keys.min()) < window:
        return None
    return queries[:, None] - keys[None] < window
