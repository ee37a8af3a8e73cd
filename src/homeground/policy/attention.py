"""Attention over a token forest, registered with transformers' ``AttentionInterface``.

A query sees its own segment causally and every ancestor segment in full. In depth-first order the
queries below a segment are contiguous, so the whole forest is a list of *parts*, each one ordinary
attention between two slices::

    for each long segment s:          queries s, below(s)  keys s     causal: what lies below s sees all of it
    for each run b of small subtrees: queries b            keys b     masked

A sliding window leaves few keys of a long segment to see; then each ``BLOCK`` of queries has its own parts
(:func:`windowed_plan`), and no part is larger than a block times a window and a block.

A run of neighbouring subtrees is small when it has at most ``BLOCK`` tokens: one call with a mask then
costs less than a call for each of its segments. Parts of one query are merged by their log-sum-exp (as in
Hydragen, Juravsky et al. 2024, arXiv 2402.05099): nothing is copied per row, nothing is padded. The
backward pass of a part is the ordinary one with the *merged* output and log-sum-exp in place of the
part's own, which makes it exact: softmax weights are ``exp(score - lse)`` with the lse of the whole row
(Dao 2023, arXiv 2307.08691, section 2.3; the same identity lets ring attention split keys over devices).

The layout travels as the keyword ``forest`` of the model's forward. A model that drops the keyword makes
:func:`forest_attention` raise instead of silently attending across rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from homeground.policy.attention_gradient import AttentionGradient
from homeground.policy.forest import TokenForest

IMPLEMENTATION = "homeground_forest"
BLOCK = 256


@dataclass(frozen=True)
class Scoring:
    """What a model's attention does to scores besides the scaled product."""

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def plain(self) -> bool:
        """True when a fused kernel computes exactly this."""
        return self.window is None and self.fused

    @property
    def fused(self) -> bool:
        """True when a fused kernel computes this, given a mask for the window."""
        return self.softcap is None and self.sinks is None


class Layout(Protocol):
    """How the tokens of one forward attend; the training forest and the sampler's cache each have one."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Attention output like query (1, heads, N, head size); key and value are (1, kv heads, N, head size)."""
        ...


def forest_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    forest: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls in every attention layer; returns (1, N, heads, head size).

    Raises:
        RuntimeError: the model did not hand the layout through, so exact rows cannot be guaranteed.
    """
    if forest is None:
        raise RuntimeError(f"{type(module).__name__} does not pass the 'forest' keyword to its attention function")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    scoring = Scoring(scale, sliding_window, softcap, s_aux)
    # A residual stream in float32 leaves rotated queries and keys in float32; values come from a product.
    # Fused kernels read the numbers of a head side by side; a sampler's products of few rows are laid out by columns.
    query, key, value = (t if t.stride(-1) == 1 else t.contiguous() for t in (query, key, value))
    query, key = query.to(value.dtype), key.to(value.dtype)
    layer: int = getattr(module, "layer_idx")  # noqa: B009
    out = forest.attend(layer, query, key, value, scoring)
    return out.transpose(1, 2), None


def register() -> None:
    """Make ``attn_implementation="homeground_forest"`` known to transformers; calling it again is harmless."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, forest_attention)


class ForestLayout:
    """The layout of a :class:`TokenForest` in training and scoring."""

    def __init__(self, forest: TokenForest) -> None:
        self._forest = forest
        self._longest = int(forest.positions.max()) + 1
        self._masks: dict[int | None, Tensor] = {}
        self._parts: dict[int | None, list[_Part]] = {}
        self._part_masks: dict[tuple[int | None, torch.dtype], dict[int, _Mask]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """See :class:`Layout`; differentiable in query, key and value."""
        del layer
        # A window that no path outgrows hides nothing.
        window = scoring.window if scoring.window is not None and scoring.window < self._longest else None
        if not scoring.fused:
            return masked_attention(query, key, value, self._mask(window, query.device), scoring)
        if self.in_parts(query):
            parts, masks = self._plan(window, query.dtype)
            return _PartwiseAttention.apply(query, key, value, parts, masks, scoring.scale)  # pyright: ignore
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            # With a mask, SDPA's enable_gqa leaves CUDA's fused kernels for a quadratic one.
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return masked_attention(query, key, value, self._mask(window, query.device), scoring)

    def in_parts(self, query: Tensor) -> bool:
        """Whether attention goes part by part; only the CPU's kernel gives the log-sum-exp that joins parts."""
        return query.device.type == "cpu"

    def _plan(self, window: int | None, dtype: torch.dtype) -> tuple[list[_Part], dict[int, _Mask]]:
        if window not in self._parts:
            self._parts[window] = plan(self._forest) if window is None else windowed_plan(self._forest, window)
        parts = self._parts[window]
        if (window, dtype) not in self._part_masks:
            self._part_masks[window, dtype] = {
                index: _Mask.of(visible(self._forest, window, p.queries, p.keys), dtype)
                for index, p in enumerate(parts)
                if p.masked
            }
        return parts, self._part_masks[window, dtype]

    def _mask(self, window: int | None, device: torch.device) -> Tensor:
        if window not in self._masks:
            self._masks[window] = visible(self._forest, window).to(device)
        return self._masks[window]


def visible(
    forest: TokenForest, window: int | None = None, queries: slice | None = None, keys: slice | None = None
) -> Tensor:
    """Which token sees which, shape (queries, keys), bool: the definition that every fast path must equal.

    In depth-first order a token is seen by itself and all that follow it up to the end of its segment's descendants.

    Args:
        forest: the trie.
        window: when given, a query sees only keys less than ``window`` positions back *along its path*.
        queries, keys: which tokens; all by default.
    """
    everything = slice(0, len(forest))
    rows, columns = queries or everything, keys or everything
    query, key = torch.arange(rows.start, rows.stop)[:, None], torch.arange(columns.start, columns.stop)[None]
    until = torch.cat([torch.full((s.stop - s.start,), s.below) for s in forest.segments])
    mask = (key <= query) & (query < until[columns])
    if window is not None:
        positions = forest.positions.cpu()
        mask &= (positions[rows, None] - positions[None, columns]) < window
    return mask


def masked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scoring: Scoring) -> Tensor:
    """Attention with an explicit mask, soft cap and sinks; quadratic in N, used where no fused kernel fits.

    Args:
        query: (1, heads, N, head size).
        key, value: (1, kv heads, N, head size); each head is read by heads / kv heads neighbours.
        mask: (N, N), bool; holds the window.
        scoring: see there.
    """
    if scoring.fused:
        shared = query.shape[1] != key.shape[1]
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scoring.scale, enable_gqa=shared
        )
    by_head = query.unflatten(1, (key.shape[1], -1))
    scores = (by_head @ key[:, :, None].transpose(-1, -2)).float() * scoring.scale
    if scoring.softcap is not None:
        scores = torch.tanh(scores / scoring.softcap) * scoring.softcap
    scores = scores.masked_fill(~mask, float("-inf"))
    if scoring.sinks is not None:
        sink = scoring.sinks.float().view(1, key.shape[1], -1, 1, 1).expand(*scores.shape[:-1], 1)
        weights = torch.softmax(torch.cat([scores, sink], -1), -1)[..., :-1]
    else:
        weights = torch.softmax(scores, -1)
    return (weights.to(value.dtype) @ value[:, :, None]).flatten(1, 2)


_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def part(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One part on the CPU: output like ``query`` (B, H, Q, D) and log-sum-exp (B, H, Q), float32, natural log."""
    out, lse = _flash(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return out, lse


def merge(out: Tensor, lse: Tensor, part_out: Tensor, part_lse: Tensor) -> None:
    """Fold a part into the running output (.., Q, D) and log-sum-exp (.., Q), in place; both float32."""
    total = torch.logaddexp(lse, part_lse)
    out.mul_(torch.exp(lse - total)[..., None]).add_(part_out * torch.exp(part_lse - total)[..., None])
    lse.copy_(total)


@dataclass(frozen=True)
class _Part:
    """Attention between two slices; ``first`` of its queries' parts; ``causal``: query i sees keys up to i."""

    queries: slice
    keys: slice
    first: bool = False
    causal: bool = False
    masked: bool = False


@dataclass(frozen=True)
class _Mask:
    """What a part's mask hides (queries, keys), adds to scores (1, 1, queries, keys) and to log-sum-exps (queries,)."""

    hidden: Tensor
    scores: Tensor
    lse: Tensor

    @classmethod
    def of(cls, seen: Tensor, dtype: torch.dtype) -> _Mask:
        # The kernel gives a query that sees no key of a part a log-sum-exp of zero instead of minus infinity.
        scores = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, float("-inf"))
        lse = torch.zeros(len(seen)).masked_fill_(~seen.any(-1), float("-inf"))
        return cls(~seen, scores[None, None], lse)


def plan(forest: TokenForest) -> list[_Part]:
    """The parts of a forest, roots first."""
    children = forest.children()
    parts: list[_Part] = []
    pending = [-1]
    while pending:
        parent = pending.pop()
        for run in _runs(forest, children[parent]):
            first, last = forest.segments[run[0]], forest.segments[run[-1]]
            block = slice(first.start, last.below)
            if len(run) == 1 and (not children.get(run[0]) or block.stop - block.start > BLOCK):
                keys = slice(first.start, first.stop)
                parts.append(_Part(block, keys, first=parent < 0, causal=True))
                if run[0] in children:
                    pending.append(run[0])
            else:
                parts.append(_Part(block, block, first=parent < 0, masked=True))
    return parts


def _runs(forest: TokenForest, siblings: list[int]) -> list[list[int]]:
    """Neighbouring sibling subtrees, together at most BLOCK tokens; a larger one stands alone."""
    runs: list[list[int]] = []
    room = 0
    for index in siblings:
        size = forest.segments[index].below - forest.segments[index].start
        if size <= room:
            runs[-1].append(index)
            room -= size
        else:
            runs.append([index])
            room = BLOCK - size
    return runs


def windowed_plan(forest: TokenForest, window: int) -> list[_Part]:
    """The parts of a forest whose queries see only the last ``window`` tokens of their path.

    Queries go in blocks, whatever their segments. A block sees itself, and of each segment that is open at its first
    token the end that its window still reaches; only where a window begins within that end is a mask needed::

        keys of an open segment    [ hidden | begins within: masked | seen by the whole block ]
    """
    positions = forest.positions.tolist()
    own: list[_Part] = []
    above: list[_Part] = []
    for start in range(0, len(forest), BLOCK):
        block = slice(start, min(start + BLOCK, len(forest)))
        alone = any(s.start <= block.start and block.stop <= s.stop for s in forest.segments)
        plain = alone and block.stop - block.start <= window
        own.append(_Part(block, block, first=True, causal=plain, masked=not plain))
        for s in forest.segments:
            if not s.start < start < s.below:
                continue
            rows = slice(start, min(block.stop, s.below))
            depths = positions[rows]
            # Key k of the segment lies at this depth: positions[s.start] + k.
            first = s.start + max(0, min(depths) - window + 1 - positions[s.start])
            common = s.start + max(0, max(depths) - window + 1 - positions[s.start])
            stop = min(s.stop, start)
            common = min(common, stop)
            if first < common:
                above.append(_Part(rows, slice(first, common), masked=True))
            if common < stop:
                above.append(_Part(rows, slice(common, stop)))
    return [*own, *above]


def _scores(masks: dict[int, _Mask], index: int) -> Tensor | None:
    return masks[index].scores if index in masks else None


def _wide(like: Tensor) -> Tensor:
    """Empty float32 tensor (1, H, N, D) whose heads lie side by side for each token, as a model's products do."""
    batch, heads, tokens, size = like.shape
    return torch.empty(batch, tokens, heads, size).transpose(1, 2)


class _PartwiseAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: list[_Part], masks: dict[int, _Mask], scale: float
    ) -> Tensor:
        if len(parts) == 1:
            out, lse = part(query, key, value, scale, causal=parts[0].causal, mask=_scores(masks, 0))
        else:
            out, lse = _wide(query), torch.empty(query.shape[:-1], dtype=torch.float32)
            for index, p in enumerate(parts):
                rows, seen = p.queries, p.keys
                found, found_lse = part(
                    query[:, :, rows],
                    key[:, :, seen],
                    value[:, :, seen],
                    scale,
                    causal=p.causal,
                    mask=_scores(masks, index),
                )
                if p.first:
                    out[:, :, rows], lse[:, :, rows] = found, found_lse
                else:
                    if p.masked:
                        found_lse = found_lse + masks[index].lse
                    merge(out[:, :, rows], lse[:, :, rows], found, found_lse)
            out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.parts, ctx.masks, ctx.scale = parts, masks, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, out, lse = ctx.saved_tensors
        gradient = AttentionGradient(grad_out, query, key, value, out, lse, ctx.scale)
        for index, p in enumerate(ctx.parts):
            hidden = ctx.masks[index].hidden if p.masked else None
            gradient.add(p.queries, p.keys, causal=p.causal, hidden=hidden)
        return *gradient.result(query.dtype), None, None, None
