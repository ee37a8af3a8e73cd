"""Keys and values that belong to one running row each.

Rows that hold about as much lie together on a *shelf*, all with the same room, so that one kernel attends them at once
and a short row beside a long one takes, and computes, little. A row begins with room for what it holds and ``STEP``
tokens more; when that is full it moves to the next shelf::

    room    64    96    128    192    256    384    512 ..
    rows    0, 3         1                           2, 4

A row that moves is copied; shelves grow by half or a third each time, which copies a token about three times at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from homeground.rollouts.cache import CacheNode
from homeground.rollouts.heads import HeadShape

STEP = 64


def room_for(tokens: int) -> int:
    """Tokens that a row has room for on the smallest shelf that takes ``tokens``."""
    top = max(STEP, 1 << (tokens - 1).bit_length())
    between = top * 3 // 4
    return between if top > STEP and tokens <= between else top


class Shelf:
    """Rows with equal room, dense: the last takes the place of one that leaves.

    Attributes:
        room: tokens of each row.
        rows: of the batch, by their places here.
        keys, values: a layer each, (places, kv heads, room, head size); some places are kept for rows to come.
    """

    def __init__(self, heads: HeadShape, room: int) -> None:
        self.room = room
        self.rows: list[int] = []
        self.keys, self.values = (
            [torch.zeros(0, heads.kv_heads, room, size, dtype=heads.dtype, device=heads.device)] * heads.layers
            for size in (heads.key_size, heads.value_size)
        )

    @property
    def places(self) -> int:
        """How many rows there is room for."""
        return len(self.keys[0])

    def expect(self, count: int) -> None:
        """Have places for so many rows more."""
        places = self._places_for(count)
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):
                tensors[layer] = _resized(tensor, places, len(self.rows))

    def put(self, row: int, nodes: Sequence[CacheNode]) -> None:
        """Place a row that was expected, with a copy of cached nodes."""
        place, at = len(self.rows), 0
        for node in nodes:
            stop = at + len(node.ids)
            for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
                keys[place, :, at:stop] = node.keys[layer]
                values[place, :, at:stop] = node.values[layer]
            at = stop
        self.rows.append(row)

    def take(self, other: Shelf, places: Sequence[int]) -> None:
        """Take over some rows of a shelf with less room."""
        start, total = len(self.rows), self._places_for(len(places))
        stop, everything = start + len(places), len(places) == len(other.rows)
        index = torch.tensor(places, device=self.keys[0].device)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, tensor in enumerate(theirs):
                mine[layer] = _resized(mine[layer], total, start)
                mine[layer][start:stop, :, : other.room] = tensor[index]
                if everything:
                    # Layer by layer, so that old and new are never there together.
                    theirs[layer] = _resized(tensor, 0, 0)
        self.rows += [other.rows[place] for place in places]
        if everything:
            other.rows.clear()
        else:
            for place in reversed(places):
                other.remove(place)

    def remove(self, place: int) -> None:
        """Take a row out."""
        last = len(self.rows) - 1
        if place != last:
            for tensor in (*self.keys, *self.values):
                tensor[place] = tensor[last]
            self.rows[place] = self.rows[last]
        self.rows.pop()

    def trim(self) -> None:
        """Give back places where half of them are empty."""
        used = len(self.rows)
        if self.places >= 2 * used:
            for tensors in (self.keys, self.values):
                for layer, tensor in enumerate(tensors):
                    tensors[layer] = _resized(tensor, used + used // 4, used)

    def _places_for(self, more: int) -> int:
        used = len(self.rows) + more
        # A quarter more at a time: rows that come one by one do not copy all others each time.
        return self.places if used <= self.places else max(used, self.places + self.places // 4)


class Tails:
    """The tails of all rows that run, by their places in the batch.

    What a row may need at most is promised to it before it starts: rows are admitted while all that was promised stays
    within a budget, so that one that runs always gets what it grows into. The promise is an account; memory is
    taken as rows grow. Empty places on shelves come on top, fewer than there are rows.

    Args:
        heads: sizes of the model's keys and values.
        budget_bytes: of what is promised.

    Attributes:
        lengths: tokens that each row holds.
    """

    def __init__(self, heads: HeadShape, budget_bytes: int) -> None:
        self._heads = heads
        self._budget = budget_bytes
        self._shelves: dict[int, Shelf] = {}
        self._needs: list[int] = []
        self.lengths: list[int] = []

    @property
    def shelves(self) -> list[Shelf]:
        """Those with rows."""
        return [shelf for shelf in self._shelves.values() if shelf.rows]

    @property
    def bytes(self) -> int:
        """Size of all tensors."""
        return sum(tensor.nbytes for shelf in self._shelves.values() for tensor in (*shelf.keys, *shelf.values))

    def fits(self, needs: Sequence[int]) -> int:
        """How many rows of these needs, in order, may start now; where none runs, one may, whatever it needs.

        Args:
            needs: tokens that each row's tail will hold at most.
        """
        left = self._budget - sum(map(self._promise, self._needs))
        for count, need in enumerate(needs):
            left -= self._promise(need)
            if left < 0 and (count or self.lengths):
                return count
        return len(needs)

    def add(self, tails: Sequence[Sequence[CacheNode]], needs: Sequence[int]) -> None:
        """Append rows.

        Args:
            tails: cached nodes that each row begins with a copy of.
            needs: tokens that each row's tail will hold at most.
        """
        held = [sum(len(node.ids) for node in nodes) for nodes in tails]
        rooms = [room_for(min(need, length + STEP)) for length, need in zip(held, needs, strict=True)]
        for room, count in Counter(rooms).items():
            self._shelf(room).expect(count)
        for row, (nodes, room) in enumerate(zip(tails, rooms, strict=True), len(self.lengths)):
            self._shelf(room).put(row, nodes)
        self.lengths += held
        self._needs += needs

    def widen(self) -> None:
        """Have room for one more token in every row."""
        for shelf in self.shelves:
            full = [place for place, row in enumerate(shelf.rows) if self.lengths[row] == shelf.room]
            if full:
                self._shelf(room_for(shelf.room + 1)).take(shelf, full)
                self.trim()

    def find(self, row: int) -> tuple[Shelf, int]:
        """Where a row lies, and its place there."""
        return next((shelf, shelf.rows.index(row)) for shelf in self.shelves if row in shelf.rows)

    def read(self, row: int) -> tuple[Tensor, Tensor]:
        """Copies of a row's keys and values, (layers, kv heads, tokens, head size)."""
        shelf, place = self.find(row)
        keys, values = (
            torch.stack([tensor[place, :, : self.lengths[row]] for tensor in tensors])
            for tensors in (shelf.keys, shelf.values)
        )
        return keys, values

    def remove(self, row: int) -> None:
        """Take a row out; the last row gets its number."""
        last = len(self.lengths) - 1
        shelf, place = self.find(row)
        shelf.remove(place)
        if row != last:
            shelf, place = self.find(last)
            shelf.rows[place] = row
            self.lengths[row], self._needs[row] = self.lengths[last], self._needs[last]
        self.lengths.pop()
        self._needs.pop()

    def trim(self) -> None:
        """Give back what rows that have left or moved had."""
        for room, shelf in list(self._shelves.items()):
            shelf.trim()
            if not shelf.rows:
                del self._shelves[room]

    def clear(self) -> None:
        """Drop all rows."""
        self._shelves.clear()
        self._needs.clear()
        self.lengths.clear()

    def _shelf(self, room: int) -> Shelf:
        if room not in self._shelves:
            self._shelves[room] = Shelf(self._heads, room)
        return self._shelves[room]

    def _promise(self, need: int) -> int:
        h = self._heads
        return room_for(need) * h.layers * h.kv_heads * (h.key_size + h.value_size) * h.dtype.itemsize


def _resized(tensor: Tensor, places: int, used: int) -> Tensor:
    if places == len(tensor):
        return tensor
    # Zeros: what lies behind a row's end is masked, and must be a number to be masked.
    fresh = tensor.new_zeros(places, *tensor.shape[1:])
    fresh[:used] = tensor[:used]
    return fresh
