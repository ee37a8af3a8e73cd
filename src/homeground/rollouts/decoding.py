"""How the tokens of one sampler forward attend: new prompt tokens (prefill) and one token a row (decode).

Both attend cached trie nodes without copying them per row: the keys and values of a shared run of tokens are
read once for all rows below it, and the parts are merged by log-sum-exp (Hydragen, Juravsky et al. 2024,
arXiv 2402.05099). What only one row sees lies in that row's *tail*; tails on one shelf are attended together. A sliding
window is a distance along a row's own path, so it is a mask over nodes and tails alike; nodes that have left every
row's window are skipped.

On the CPU an ordinary part is one fused kernel. Everything else (other devices, soft caps, sliding windows) takes
:func:`plain_part`: the equations written out, in float32, a block of queries at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from homeground.policy import attention
from homeground.policy.attention import Scoring, merge
from homeground.policy.forest import TokenForest
from homeground.rollouts.cache import CacheNode
from homeground.rollouts.tails import Shelf, Tails

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
    """Return whether :func:`part` is one kernel for these."""
    return query.device.type == "cpu" and scoring.softcap is None and (mask is None or mask.dtype is not torch.bool)


def plain_part(
    query: Tensor, key: Tensor, value: Tensor, scoring: Scoring, *, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute :func:`part` with a bool mask."""
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
    """Mask of the keys that lie less than ``window`` positions behind a query: (Q, K) bool, None when all do."""
    if window is None or int(queries.max()) - int(keys.min()) < window:
        return None
    return queries[:, None] - keys[None] < window


@dataclass(frozen=True)
class NewBranch:
    """New prompt tokens that continue one cached node: their forest, and where they lie in the forward."""

    node: CacheNode
    forest: TokenForest
    start: int

    @property
    def depth(self) -> int:
        """How many tokens of the paths are cached already."""
        return self.node.start + len(self.node.ids)


class PrefillLayout:
    """New tokens below cached nodes. Keeps each layer's keys and values for the cache.

    Args:
        branches: disjoint, covering the forward's tokens in order.
    """

    def __init__(self, branches: Sequence[NewBranch]) -> None:
        self._branches = branches
        self._positions = torch.cat([b.forest.positions.cpu() + b.depth for b in branches])
        self._masks: dict[tuple[int | None, int, int, int], Tensor | None] = {}
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """See :class:`homeground.policy.attention.Layout`."""
        if layer != len(self.keys):
            raise RuntimeError(f"layer {layer} attends when layer {len(self.keys)} was due")
        self.keys.append(key[0])
        self.values.append(value[0])
        rep = query.shape[1] // key.shape[1]
        out = torch.empty(*query.shape[:-1], value.shape[-1], dtype=torch.float32, device=query.device)
        lse = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        for branch in self._branches:
            for s in branch.forest.segments:
                own = slice(branch.start + s.start, branch.start + s.stop)
                mask = self._mask(scoring.window, own, self._positions[own])
                keys, values = _repeat(key[:, :, own], rep), _repeat(value[:, :, own], rep)
                out[:, :, own], lse[:, :, own] = part(query[:, :, own], keys, values, scoring, causal=True, mask=mask)
            for s in branch.forest.segments:
                if s.below > s.stop:
                    own = slice(branch.start + s.start, branch.start + s.stop)
                    below = slice(branch.start + s.stop, branch.start + s.below)
                    mask = self._mask(scoring.window, below, self._positions[own])
                    keys, values = _repeat(key[:, :, own], rep), _repeat(value[:, :, own], rep)
                    merge(
                        out[:, :, below], lse[:, :, below], *part(query[:, :, below], keys, values, scoring, mask=mask)
                    )
            rows = slice(branch.start, branch.start + len(branch.forest))
            for node in branch.node.path():
                mask = self._mask(scoring.window, rows, torch.arange(node.start, node.start + len(node.ids)))
                keys, values = _repeat(node.keys[layer][None], rep), _repeat(node.values[layer][None], rep)
                merge(out[:, :, rows], lse[:, :, rows], *part(query[:, :, rows], keys, values, scoring, mask=mask))
        if scoring.sinks is not None:
            sink(out, lse, scoring.sinks.view(1, -1, 1))
        return out.to(query.dtype)

    def _mask(self, window: int | None, queries: slice, keys: Tensor) -> Tensor | None:
        if window is None:
            return None
        place = (window, queries.start, int(keys[0]), len(keys))
        if place not in self._masks:
            self._masks[place] = within(self._positions[queries], keys, window)
        return self._masks[place]


@dataclass(frozen=True)
class SharedRun:
    """A cached node and the running rows that see it.

    Attributes:
        node: keys and values.
        rows: a slice when the rows stand side by side, else their indices on the device.
        count: how many rows.
        last: no later run holds one of these rows, so their log-sum-exp is not needed any more.
    """

    node: CacheNode
    rows: slice | Tensor
    count: int
    last: bool


def shared_runs(anchors: Sequence[CacheNode], device: torch.device) -> list[SharedRun]:
    """Which rows see which node, by each row's deepest shared node."""
    members: dict[int, tuple[CacheNode, list[int]]] = {}
    for index, anchor in enumerate(anchors):
        for node in anchor.path():
            members.setdefault(id(node), (node, []))[1].append(index)
    runs: list[SharedRun] = []
    later: set[int] = set()
    for node, who in reversed(members.values()):
        runs.append(SharedRun(node, _rows(who, device), len(who), later.isdisjoint(who)))
        later.update(who)
    return runs[::-1]


@dataclass(frozen=True)
class _ShelfRun:
    """A shelf's rows in one decode step.

    Attributes:
        shelf: keys and values.
        rows: of the batch, in the order of their places.
        places: all of them, on the device.
        lengths: tokens that each row holds, which is where its new one goes.
        at: the same on the device.
    """

    shelf: Shelf
    rows: slice | Tensor
    places: Tensor
    lengths: Tensor
    at: Tensor

    @classmethod
    def of(cls, shelf: Shelf, lengths: Sequence[int]) -> _ShelfRun:
        device = shelf.keys[0].device
        held = torch.tensor([lengths[row] for row in shelf.rows])
        places = torch.arange(len(shelf.rows), device=device)
        return cls(shelf, _rows(shelf.rows, device), places, held, held.to(device))

    def add(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store each row's new key and value, (rows of the batch, kv heads, head size); returns what is attended."""
        keys, values = self.shelf.keys[layer], self.shelf.values[layer]
        keys[self.places, :, self.at] = key[self.rows]
        values[self.places, :, self.at] = value[self.rows]
        count, width = len(self.lengths), self.width
        return keys[:count, :, :width], values[:count, :, :width]

    @cached_property
    def width(self) -> int:
        """Tokens of the longest row, its new one included."""
        return int(self.lengths.max()) + 1

    def seen(self, window: int | None) -> Tensor | None:
        """Which columns each row sees, (rows, 1, 1, width), bool; None when all see all."""
        if int(self.lengths.min()) + 1 == self.width <= (window or self.width):
            return None
        # A tail ends at its row's position: column j lies lengths - j positions back.
        back = self.lengths[:, None] - torch.arange(self.width)[None]
        seen = back >= 0 if window is None else (back >= 0) & (back < window)
        return seen[:, None, None].to(self.at.device)


@dataclass
class _Seen:
    """What the rows see in layers of one window.

    Attributes:
        runs: of each, everything (None), nothing (False), or a mask.
        tails: of each shelf everything (None), or a mask.
        fused_tails: the same, as a fused kernel takes it.
    """

    runs: list[Tensor | bool | None]
    tails: list[Tensor | None]
    fused_tails: list[Tensor | None] | None = None


class DecodeLayout:
    """One new token for each running row.

    Args:
        tails: where each row's new key and value go; every row has room for them.
        positions: of each row's new token on its path.
        shared: cached nodes and the rows that see them.
    """

    def __init__(self, tails: Tails, positions: Sequence[int], shared: Sequence[SharedRun]) -> None:
        self._shelves = [_ShelfRun.of(shelf, tails.lengths) for shelf in tails.shelves]
        self._shared = shared
        self._positions = torch.tensor(positions)
        self._seen: dict[int | None, _Seen] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """See :class:`homeground.policy.attention.Layout`; query is (1, heads, rows, head size)."""
        heads, rows = query.shape[1:3]
        kv_heads = key.shape[1]
        rep = heads // kv_heads
        # The query heads that share a kv head stand as `rep` queries of one head: keys are not repeated.
        grouped = query[0].unflatten(0, (kv_heads, rep)).permute(2, 0, 1, 3)
        seen = self._seen_in(scoring.window)
        out, lse = self._tails(layer, grouped, key[0].transpose(0, 1), value[0].transpose(0, 1), scoring, seen)
        visible = [(run, mask) for run, mask in zip(self._shared, seen.runs, strict=True) if mask is not False]
        if visible or scoring.sinks is not None:
            out = out.float()
            for run, mask in visible:
                _merge_run(run, mask, layer, grouped, out, lse, scoring)
            if scoring.sinks is not None:
                sink(out, lse, scoring.sinks.view(1, kv_heads, rep))
            out = out.to(query.dtype)
        return out.permute(1, 2, 0, 3).reshape(1, heads, rows, out.shape[-1])

    def _tails(
        self, layer: int, grouped: Tensor, key: Tensor, value: Tensor, scoring: Scoring, seen: _Seen
    ) -> tuple[Tensor, Tensor]:
        """Attend each row's own tokens, a shelf at a time: output like grouped, and its log-sum-exp."""
        masks = _tail_masks(seen, grouped, scoring)
        found = [
            part(grouped[run.rows], *run.add(layer, key, value), scoring, mask=mask)
            for run, mask in zip(self._shelves, masks, strict=True)
        ]
        if len(found) == 1 and isinstance(self._shelves[0].rows, slice):
            return found[0]
        out = grouped.new_empty(*grouped.shape[:-1], value.shape[-1])
        lse = torch.empty(grouped.shape[:-1], device=grouped.device)
        for run, (own, own_lse) in zip(self._shelves, found, strict=True):
            out[run.rows], lse[run.rows] = own, own_lse
        return out, lse

    def _seen_in(self, window: int | None) -> _Seen:
        if window in self._seen:
            return self._seen[window]
        found = self._seen[window] = _Seen([], [run.seen(window) for run in self._shelves])
        for run in self._shared:
            rows = run.rows if isinstance(run.rows, slice) else run.rows.cpu()
            places = torch.arange(run.node.start, run.node.start + len(run.node.ids))
            mask = within(self._positions[rows], places, window)
            found.runs.append(mask if mask is None else bool(mask.any()) and mask.to(run.node.keys.device))
        return found


def _tail_masks(seen: _Seen, grouped: Tensor, scoring: Scoring) -> list[Tensor | None]:
    """As :func:`part` takes them."""
    if not fused(grouped, scoring):
        return seen.tails
    if seen.fused_tails is None:
        seen.fused_tails = [None if mask is None else _bias(mask, grouped) for mask in seen.tails]
    return seen.fused_tails


def _bias(mask: Tensor, grouped: Tensor) -> Tensor:
    bias = torch.zeros(mask.shape, dtype=grouped.dtype).masked_fill_(~mask, -torch.inf)
    return bias.expand(-1, 1, grouped.shape[2], -1)


def _rows(who: Sequence[int], device: torch.device) -> slice | Tensor:
    """Indices, as a slice where they stand side by side."""
    first, stop = who[0], who[0] + len(who)
    return slice(first, stop) if list(who) == list(range(first, stop)) else torch.tensor(who, device=device)


def _merge_run(
    run: SharedRun, mask: Tensor | bool | None, layer: int, grouped: Tensor, out: Tensor, lse: Tensor, scoring: Scoring
) -> None:
    """Fold what a run's rows see of its node into their output; ``mask`` is (rows of the run, tokens)."""
    kv_heads, rep, size = grouped.shape[1:]
    queries = grouped[run.rows].permute(1, 0, 2, 3).reshape(1, kv_heads, run.count * rep, size)
    allowed = mask.repeat_interleave(rep, 0) if isinstance(mask, Tensor) else None
    seen, seen_lse = part(queries, run.node.keys[layer][None], run.node.values[layer][None], scoring, mask=allowed)
    seen = seen.view(kv_heads, run.count, rep, -1).transpose(0, 1)
    seen_lse = seen_lse.view(kv_heads, run.count, rep).transpose(0, 1)
    # Two softmaxes over disjoint keys: the weight of the second is its share of the sum of exponentials.
    row_out, row_lse = out[run.rows], lse[run.rows]
    share = torch.sigmoid(seen_lse - row_lse)[..., None]
    if isinstance(run.rows, slice):
        row_out.lerp_(seen.float(), share)
    else:
        out[run.rows] = torch.lerp(row_out, seen.float(), share)
    if not run.last or scoring.sinks is not None:
        lse[run.rows] = torch.logaddexp(row_lse, seen_lse)


def _repeat(tensor: Tensor, rep: int) -> Tensor:
    return tensor if rep == 1 else tensor.repeat_interleave(rep, 1)
