"""How the tokens of one sampler forward attend: new prompt tokens (prefill) and one token a row (decode).

Both attend cached trie nodes without copying them per row: the keys and values of a shared run of tokens are
read once for all rows below it, and the parts are merged by log-sum-exp (Hydragen, Juravsky et al. 2024,
arXiv 2402.05099). What only one row sees lies in that row's *tail*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homeground.policy.attention import Scoring, merge, part
from homeground.policy.forest import TokenForest
from homeground.rollouts.cache import CacheNode


@dataclass(frozen=True)
class NewBranch:
    """New prompt tokens that continue one cached node: their forest, and where they lie in the forward."""

    node: CacheNode
    forest: TokenForest
    start: int


class PrefillLayout:
    """New tokens below cached nodes. Keeps each layer's keys and values for the cache.

    Args:
        branches: disjoint, covering the forward's tokens in order.
    """

    def __init__(self, branches: Sequence[NewBranch]) -> None:
        self._branches = branches
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """See :class:`homeground.policy.attention.Layout`."""
        _only_plain(scoring)
        self._keys[layer], self._values[layer] = key[0], value[0]
        rep = query.shape[1] // key.shape[1]
        out = torch.empty(query.shape, dtype=torch.float32)
        lse = torch.empty(query.shape[:-1], dtype=torch.float32)
        for branch in self._branches:
            for s in branch.forest.segments:
                own = slice(branch.start + s.start, branch.start + s.stop)
                keys, values = _repeat(key[:, :, own], rep), _repeat(value[:, :, own], rep)
                out[:, :, own], lse[:, :, own] = part(query[:, :, own], keys, values, scoring.scale, causal=True)
            for s in branch.forest.segments:
                if s.below > s.stop:
                    own = slice(branch.start + s.start, branch.start + s.stop)
                    below = slice(branch.start + s.stop, branch.start + s.below)
                    keys, values = _repeat(key[:, :, own], rep), _repeat(value[:, :, own], rep)
                    merge(out[:, :, below], lse[:, :, below], *part(query[:, :, below], keys, values, scoring.scale))
            rows = slice(branch.start, branch.start + len(branch.forest))
            for node in branch.node.path():
                keys, values = _repeat(node.keys[layer][None], rep), _repeat(node.values[layer][None], rep)
                merge(out[:, :, rows], lse[:, :, rows], *part(query[:, :, rows], keys, values, scoring.scale))
        return out.to(query.dtype)

    def captured(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all layers, each (layers, kv heads, tokens, head size)."""
        layers = range(len(self._keys))
        return torch.stack([self._keys[i] for i in layers]), torch.stack([self._values[i] for i in layers])


class Tails:
    """Keys and values that belong to one running row each, (layers, rows, kv heads, capacity, head size).

    Rows are dense: removing one moves the last into its place.
    """

    def __init__(self, layers: int, rows: int, kv_heads: int, head_size: int, dtype: torch.dtype) -> None:
        self._shape = (layers, rows, kv_heads, head_size)
        self._dtype = dtype
        self.keys = self._allocate(64)
        self.values = self._allocate(64)
        self.lengths = [0] * rows

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` tokens a row."""
        have = self.keys.shape[3]
        if capacity <= have:
            return
        capacity = max(capacity, 2 * have)
        for name in ("keys", "values"):
            grown = self._allocate(capacity)
            grown[:, :, :, :have] = getattr(self, name)
            setattr(self, name, grown)

    def put(self, row: int, nodes: Sequence[CacheNode]) -> None:
        """Start a row's tail with a copy of cached nodes that no other row shares."""
        at = 0
        for node in nodes:
            stop = at + len(node.ids)
            self.keys[:, row, :, at:stop] = node.keys
            self.values[:, row, :, at:stop] = node.values
            at = stop
        self.lengths[row] = at

    def move(self, source: int, target: int) -> None:
        """Give row ``target`` the tail of row ``source``."""
        n = self.lengths[source]
        self.keys[:, target, :, :n] = self.keys[:, source, :, :n]
        self.values[:, target, :, :n] = self.values[:, source, :, :n]
        self.lengths[target] = n

    def _allocate(self, capacity: int) -> Tensor:
        layers, rows, kv_heads, head_size = self._shape
        return torch.zeros(layers, rows, kv_heads, capacity, head_size, dtype=self._dtype)


class DecodeLayout:
    """One new token for each of the first ``rows`` rows.

    Args:
        tails: where each row's new key and value go.
        rows: how many rows run.
        shared: cached nodes and the rows that see them.
    """

    def __init__(self, tails: Tails, rows: int, shared: Sequence[tuple[CacheNode, Tensor]]) -> None:
        self._tails = tails
        self._shared = shared
        self._rows = torch.arange(rows)
        lengths = torch.tensor(tails.lengths[:rows])
        self._at = lengths
        self._width = int(lengths.max()) + 1
        hidden = torch.arange(self._width)[None] > lengths[:, None]
        self._mask = torch.zeros(rows, 1, 1, self._width).masked_fill(hidden[:, None, None], float("-inf"))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """See :class:`homeground.policy.attention.Layout`; query is (1, heads, rows, head size)."""
        _only_plain(scoring)
        _, heads, rows, size = query.shape
        kv_heads = key.shape[1]
        rep = heads // kv_heads
        keys, values = self._tails.keys[layer], self._tails.values[layer]
        keys[self._rows, :, self._at] = key[0].transpose(0, 1)
        values[self._rows, :, self._at] = value[0].transpose(0, 1)
        # The query heads that share a kv head stand as `rep` queries of one head: keys are not repeated.
        grouped = query[0].view(kv_heads, rep, rows, size).permute(2, 0, 1, 3)
        mask = self._mask.to(query.dtype).expand(rows, 1, rep, self._width)
        out, lse = part(
            grouped, keys[:rows, :, : self._width], values[:rows, :, : self._width], scoring.scale, mask=mask
        )
        if self._shared:
            out, lse = out.float(), lse.clone()
            for node, members in self._shared:
                self._merge_shared(node, members, layer, grouped, out, lse, scoring.scale)
            out = out.to(query.dtype)
        return out.permute(1, 2, 0, 3).reshape(1, heads, rows, size)

    def _merge_shared(
        self, node: CacheNode, members: Tensor, layer: int, grouped: Tensor, out: Tensor, lse: Tensor, scale: float
    ) -> None:
        n, (kv_heads, rep, size) = len(members), grouped.shape[1:]
        queries = grouped[members].permute(1, 0, 2, 3).reshape(1, kv_heads, n * rep, size)
        seen, seen_lse = part(queries, node.keys[layer][None], node.values[layer][None], scale)
        part_out = seen.view(kv_heads, n, rep, size).transpose(0, 1).float()
        part_lse = seen_lse.view(kv_heads, n, rep).transpose(0, 1)
        row_out, row_lse = out[members], lse[members]
        merge(row_out, row_lse, part_out, part_lse)
        out[members], lse[members] = row_out, row_lse


def _repeat(tensor: Tensor, rep: int) -> Tensor:
    return tensor if rep == 1 else tensor.repeat_interleave(rep, 1)


def _only_plain(scoring: Scoring) -> None:
    if not scoring.plain:
        raise NotImplementedError("the sampler's cache does not do sliding windows, soft caps or attention sinks yet")
