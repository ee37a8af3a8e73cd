"""The sampler's cache: the same trie as the training forest, with keys and values on its nodes.

A node holds the keys and values of a run of tokens for all layers. A prompt that continues a cached path
computes only its new tokens. Nodes are evicted least recently used, leaves first, under a byte budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from homeground.policy.forest import common_prefix


class CacheNode:
    """Keys and values of a run of tokens below a parent.

    Attributes:
        ids: the tokens.
        keys, values: shape (layers, kv heads, len(ids), head size).
        users: how many running rows have this node on their path.
    """

    def __init__(self, parent: CacheNode | None, ids: Sequence[int], keys: Tensor, values: Tensor) -> None:
        self.parent = parent
        self.ids = list(ids)
        self.keys = keys
        self.values = values
        self.children: dict[int, CacheNode] = {}
        self.users = 0
        self.used_at = 0

    @property
    def bytes(self) -> int:
        """Size of the node's tensors."""
        return 2 * self.keys.numel() * self.keys.element_size()

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
        layers, kv_heads, head_size: of the model.
        dtype: of the tensors.
        budget_bytes: what may be kept once no running row needs it.
    """

    def __init__(self, layers: int, kv_heads: int, head_size: int, dtype: torch.dtype, budget_bytes: int) -> None:
        empty = torch.empty(layers, kv_heads, 0, head_size, dtype=dtype)
        self.root = CacheNode(None, [], empty, empty)
        self._budget = budget_bytes
        self._clock = itertools.count(1)

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
            fresh = CacheNode(node, ids[at:], keys[:, :, at:].clone(), values[:, :, at:].clone())
            node.children[ids[at]] = fresh
            node = fresh
        node.used_at = next(self._clock)
        return node

    def clear(self) -> None:
        """Forget everything; rows that still run keep the tensors on their own paths."""
        self.root.children = {}

    def evict(self) -> None:
        """Drop least recently used leaves that no row needs until the budget holds."""
        excess = sum(n.bytes for n in self._nodes()) - self._budget
        while excess > 0:
            idle = [n for n in self._nodes() if not n.children and n.users == 0]
            if not idle:
                return
            oldest = min(idle, key=lambda n: n.used_at)
            assert oldest.parent is not None
            del oldest.parent.children[oldest.ids[0]]
            excess -= oldest.bytes

    def _split(self, node: CacheNode, at: int) -> CacheNode:
        assert node.parent is not None
        upper = CacheNode(node.parent, node.ids[:at], node.keys[:, :, :at], node.values[:, :, :at])
        upper.users, upper.used_at = node.users, node.used_at
        node.parent.children[upper.ids[0]] = upper
        node.ids, node.keys, node.values = node.ids[at:], node.keys[:, :, at:], node.values[:, :, at:]
        node.parent = upper
        upper.children[node.ids[0]] = node
        return upper

    def _nodes(self) -> Iterator[CacheNode]:
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()
