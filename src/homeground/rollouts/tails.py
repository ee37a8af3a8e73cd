"""Keys and values that belong to one running row each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from homeground.rollouts.cache import CacheNode
from homeground.rollouts.heads import HeadShape

SMALLEST = 64


class Tails:
    """Tensors of shape (layers, rows, kv heads, capacity, head size).

    Rows are dense: removing one moves the last into its place. Nothing is held while no row runs.

    Args:
        heads: sizes of the model's keys and values.
        rows: of the batch.
    """

    def __init__(self, heads: HeadShape, rows: int) -> None:
        self._heads = heads
        self._rows = rows
        self.lengths = [0] * rows
        self.keys, self.values = self._allocate(0)

    @property
    def capacity(self) -> int:
        """Tokens that there is room for in each row."""
        return self.keys.shape[3]

    def reserve(self, needed: int, rows: int) -> None:
        """Make room for ``needed`` tokens a row, and give back what is much more than that.

        Args:
            needed: the most that any row will need, those that run included; 0 frees all.
            rows: how many rows run and keep their content.
        """
        have = self.capacity
        if needed <= have <= max(SMALLEST, 4 * needed) and needed:
            return
        # Steps of a power of two: requests that need a little more each time do not copy each time.
        capacity = max(SMALLEST, 1 << (needed - 1).bit_length()) if needed else 0
        if capacity == have:
            return
        kept = min(capacity, have)
        for name, grown in zip(("keys", "values"), self._allocate(capacity), strict=True):
            grown[:, :rows, :, :kept] = getattr(self, name)[:, :rows, :, :kept]
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

    def _allocate(self, capacity: int) -> tuple[Tensor, Tensor]:
        # Zeros: what lies behind a row's end is masked, and must be a number to be masked.
        h = self._heads
        keys, values = (
            torch.zeros(h.layers, self._rows, h.kv_heads, capacity, size, dtype=h.dtype, device=h.device)
            for size in (h.key_size, h.value_size)
        )
        return keys, values
