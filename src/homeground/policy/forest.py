"""The token forest: every distinct token of a batch once.

Rows of a training batch repeat themselves: G rollouts of one prompt repeat the prompt, an agent's
second turn repeats its first. A forest merges token-id paths by their exact prefixes into a trie of
*segments* and lays the segments out depth first, so that the descendants of a segment are the tokens
that follow it, contiguously.

Worked example. Three paths, the first two share ``[5, 6]``::

    paths      [5, 6, 7]   [5, 6, 8, 9]   [4, 2]
    ids        5 6 | 7 | 8 9 | 4 2          N = 7 instead of 9
    positions  0 1 | 2 | 2 3 | 0 1          depth in its own path
    segments   0: parent -1, 0..2, descendants 2..5
               1: parent  0, 2..3
               2: parent  0, 3..5
               3: parent -1, 5..7

A *term* is one trained token: which node's hidden state predicts it (``source``), and its id
(``target``). Terms belong to (path, token), so a sampled prefix that two rollouts share yields a term
for each of them, each with its own advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenPath:
    """One row before merging: token ids, and which of them are trained.

    Attributes:
        ids: token ids of the whole context and response, in order.
        trained: indices t (1 <= t < len(ids)) of the tokens that carry loss, ascending.
    """

    ids: Sequence[int]
    trained: Sequence[int]

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError("a path needs at least one token")
        if self.trained and (self.trained[0] < 1 or self.trained[-1] >= len(self.ids)):
            raise ValueError(
                f"trained indices must lie in 1..{len(self.ids) - 1} (nothing predicts token 0), "
                f"got {self.trained[0]}..{self.trained[-1]}"
            )


@dataclass(frozen=True)
class Segment:
    """A run of tokens without a fork.

    Attributes:
        parent: index of the segment it continues, -1 for a root.
        start, stop: its tokens in the forest's order.
        below: the end of its descendants; tokens ``stop..below`` are exactly those that see it as an ancestor.
    """

    parent: int
    start: int
    stop: int
    below: int


@dataclass(frozen=True)
class TokenForest:
    """A batch as a trie.

    Attributes:
        ids: distinct tokens, shape (N,), int64.
        positions: depth of each token in its path, shape (N,), int64.
        segments: the trie, parents before children, depth first.
        source: for each term, the node whose hidden state predicts it, shape (M,), int64.
        target: for each term, the token id, shape (M,), int64.
        path: for each term, the index of its path, shape (M,), int64; terms of a path are adjacent and in order.
        paths: the rows it was built from.
    """

    ids: Tensor
    positions: Tensor
    segments: tuple[Segment, ...]
    source: Tensor
    target: Tensor
    path: Tensor
    paths: tuple[TokenPath, ...]

    @classmethod
    def build(cls, paths: Sequence[TokenPath]) -> TokenForest:
        """Merge paths by exact token prefixes.

        Args:
            paths: at least one path; equal and nested paths are allowed.

        Raises:
            ValueError: no path was given.
        """
        if not paths:
            raise ValueError("a forest needs at least one path")
        root = _Node([], 0)
        for path in paths:
            root.insert(list(path.ids))
        ids: list[int] = []
        positions: list[int] = []
        segments: list[Segment] = []
        _lay_out(root, ids, positions, segments)
        source: list[int] = []
        target: list[int] = []
        owner: list[int] = []
        for index, path in enumerate(paths):
            if not path.trained:
                continue
            nodes = root.locate(list(path.ids))
            source += [nodes[t - 1] for t in path.trained]
            target += [path.ids[t] for t in path.trained]
            owner += [index] * len(path.trained)
        return cls(
            ids=torch.tensor(ids),
            positions=torch.tensor(positions),
            segments=tuple(segments),
            source=torch.tensor(source, dtype=torch.long),
            target=torch.tensor(target, dtype=torch.long),
            path=torch.tensor(owner, dtype=torch.long),
            paths=tuple(paths),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def path_tokens(self) -> int:
        """Sum of the lengths of the paths: what plain rows would have cost (tokens)."""
        return sum(len(p.ids) for p in self.paths)

    def children(self) -> dict[int, list[int]]:
        """Indices of the segments below each segment that has any, and of the roots below -1."""
        found: dict[int, list[int]] = {}
        for index, segment in enumerate(self.segments):
            found.setdefault(segment.parent, []).append(index)
        return found

    def to(self, device: torch.device | str) -> TokenForest:
        """The same forest with its tensors on ``device``."""
        names = ("ids", "positions", "source", "target", "path")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@dataclass
class _Node:
    ids: list[int]
    depth: int
    children: dict[int, _Node] = field(default_factory=dict)
    start: int = -1

    def insert(self, ids: list[int]) -> None:
        node, at = self, 0
        while at < len(ids):
            child = node.children.get(ids[at])
            if child is None:
                node.children[ids[at]] = _Node(ids[at:], node.depth + len(node.ids))
                return
            shared = common_prefix(child.ids, ids, at)
            if shared < len(child.ids):
                child.split(shared)
            node, at = child, at + shared

    def split(self, at: int) -> None:
        rest = _Node(self.ids[at:], self.depth + at, self.children)
        self.ids, self.children = self.ids[:at], {rest.ids[0]: rest}

    def locate(self, ids: list[int]) -> list[int]:
        nodes: list[int] = []
        node = self
        while len(nodes) < len(ids):
            node = node.children[ids[len(nodes)]]
            nodes += range(node.start, node.start + len(node.ids))
        return nodes


def common_prefix(ids: Sequence[int], other: Sequence[int], offset: int = 0) -> int:
    """How many tokens of ``ids`` equal ``other[offset:]`` from its beginning."""
    limit = min(len(ids), len(other) - offset)
    if ids[:limit] == other[offset : offset + limit]:
        return limit
    return next((i for i in range(limit) if ids[i] != other[offset + i]), limit)


def _lay_out(root: _Node, ids: list[int], positions: list[int], segments: list[Segment]) -> None:
    """Depth first without recursion: histories may fork thousands of times."""
    open_segments: list[tuple[_Node, int]] = []
    stack: list[tuple[_Node, int, bool]] = [(child, -1, False) for child in reversed(root.children.values())]
    while stack:
        node, parent, closing = stack.pop()
        if closing:
            _, index = open_segments.pop()
            closed = segments[index]
            segments[index] = Segment(closed.parent, closed.start, closed.stop, len(ids))
            continue
        node.start = len(ids)
        ids += node.ids
        positions += range(node.depth, node.depth + len(node.ids))
        segments.append(Segment(parent, node.start, len(ids), len(ids)))
        index = len(segments) - 1
        open_segments.append((node, index))
        stack.append((node, parent, True))
        stack += [(child, index, False) for child in reversed(node.children.values())]
