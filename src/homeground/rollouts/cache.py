"""The sampler's cache: the same trie as the training forest, with keys and values on its nodes.

A node holds the keys and values of a run of tokens for all layers, in memory of its own: a node that is split is
copied, so that dropping one half gives its bytes back. A prompt that continues a cached path computes only its new
tokens. Nodes are evicted least recently used, leaves first, under a byte budget.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from homeground.policy.forest import common_prefix


class CacheNode:
    """Keys and values of a run of tokens below a parent.

    Attributes:
        ids: the tokens.
        start: how many tokens come before them on the path.
        keys, values: shape (layers, kv heads, len(ids), head size).
        users: how many running rows have this node on their path.
    """

    def __init__(self, parent: CacheNode | None, ids: Sequence[int], keys: Tensor, values: Tensor) -> None:
        self.parent = parent
        self.ids = list(ids)
        self.start: int = 0 if parent is None else parent.start + len(parent.ids)
        self.keys = keys
        self.values = values
        self.children: dict[int, CacheNode] = {}
        self.users = 0
        self.used_at = 0

    @property
    def bytes(self) -> int:
        """Size of the node's tensors."""
        return self.keys.nbytes + self.values.nbytes

    def path(self) -> list[CacheNode]:
        """The nodes from the root's child down to this one."""
        nodes: list[CacheNode] = []
        node = self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class TrieCache:
    """Keys and values by token prefix.

    Args:
        budget_bytes: what may be kept once no running row needs it.
    """

    def __init__(self, budget_bytes: int) -> None:
        nothing = torch.empty(0)
        self.root = CacheNode(None, [], nothing, nothing)
        self._budget = budget_bytes
        self._clock = itertools.count(1)
        self.bytes = 0

    def match(self, ids: Sequence[int]) -> tuple[CacheNode, int]:
        """The deepest node whose path is a prefix of ``ids``, and its depth in tokens; splits nodes where needed."""
        node, depth = self.root, 0
        while depth < len(ids):
            child = node.children.get(ids[depth])
            if child is None:
                break
            shared = common_prefix(child.ids, list(ids), depth)
            if shared < len(child.ids):
                child = self._split(child, shared)
            node, depth = child, depth + shared
            node.used_at = next(self._clock)
            if shared == 0:
                break
        return node, depth

    def insert(self, parent: CacheNode, ids: Sequence[int], keys: Tensor, values: Tensor) -> CacheNode:
        """Add a run of tokens below ``parent``; an equal beginning that is cached already is kept and shared.

        Args:
            ids: the run's tokens.
            keys, values: (layers, kv heads, len(ids), head size); copied.
        """
        node, at = parent, 0
        while at < len(ids) and ids[at] in node.children:
            child = node.children[ids[at]]
            shared = common_prefix(child.ids, list(ids), at)
            if shared < len(child.ids):
                child = self._split(child, shared)
            node, at = child, at + shared
        if at < len(ids):
            fresh = CacheNode(node, ids[at:], _own(keys[:, :, at:]), _own(values[:, :, at:]))
            node.children[ids[at]] = fresh
            self.bytes += fresh.bytes
            node = fresh
        node.used_at = next(self._clock)
        return node

    def clear(self) -> None:
        """Forget everything; rows that still run keep the tensors on their own paths."""
        self.root.children = {}
        self.bytes = 0

    def evict(self) -> None:
        """Drop least recently used leaves that no row needs until the budget holds."""
        if self.bytes <= self._budget:
            return
        idle = [(n.used_at, id(n), n) for n in self._nodes() if not n.children and n.users == 0]
        heapq.heapify(idle)
        while idle and self.bytes > self._budget:
            oldest = heapq.heappop(idle)[2]
            parent = oldest.parent
            assert parent is not None
            del parent.children[oldest.ids[0]]
            self.bytes -= oldest.bytes
            if parent.parent is not None and not parent.children and parent.users == 0:
                heapq.heappush(idle, (parent.used_at, id(parent), parent))

    def _split(self, node: CacheNode, at: int) -> CacheNode:
        assert node.parent is not None
        upper = CacheNode(node.parent, node.ids[:at], _own(node.keys[:, :, :at]), _own(node.values[:, :, :at]))
        upper.users, upper.used_at = node.users, node.used_at
        node.parent.children[upper.ids[0]] = upper
        node.ids, node.start = node.ids[at:], node.start + at
        node.keys, node.values = _own(node.keys[:, :, at:]), _own(node.values[:, :, at:])
        node.parent = upper
        upper.children[node.ids[0]] = node
        return upper

    def _nodes(self) -> Iterator[CacheNode]:
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()


def _own(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)
