"""What a sampler's rows compute: the decoder over the trie of cached keys and values.

A prompt is prefilled up to its last token, into the cache; the last token is the row's first decode step, so that
siblings of one prompt share all of it and every row starts alike. When a row ends, its tokens stay cached: the next
turn of an agent computes only what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.policy.attention import Layout
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.head import logits_of
from homeground.policy.logprobs import body
from homeground.rollouts.cache import CacheNode, TrieCache
from homeground.rollouts.decoding import DecodeLayout, NewBranch, PrefillLayout, SharedRun, shared_runs
from homeground.rollouts.engine import Generation
from homeground.rollouts.heads import HeadShape
from homeground.rollouts.sampling import SamplingParams
from homeground.rollouts.stopping import StopWatch
from homeground.rollouts.tails import Tails

if TYPE_CHECKING:
    from homeground.rollouts.grammar import Grammar

PREFILL_TOKENS = 2048


@dataclass
class Row:
    """One request and what it has sampled so far.

    Attributes:
        version: of the weights when it started.
        state: what its decoder keeps for it.
        grammar: what it may say.
        listen: gets every token as it is sampled, in the sampler's thread.
    """

    prompt_ids: list[int]
    params: SamplingParams
    max_tokens: int
    stop_ids: frozenset[int]
    watch: StopWatch | None
    future: Future[Generation]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    version: int = 0
    stopped: bool = False
    state: Any = None
    grammar: Grammar | None = None
    listen: Callable[[int], None] | None = None

    @property
    def next_input(self) -> int:
        """The token whose keys come next."""
        return self.ids[-1] if self.ids else self.prompt_ids[-1]

    @property
    def position(self) -> int:
        """Of the next input."""
        return len(self.prompt_ids) + len(self.ids) - 1


class Decoder(Protocol):
    """Computes for the rows that run together; all calls come from one thread, without gradients."""

    rows: list[Row]
    prefilled_tokens: int
    reused_tokens: int

    def start(self, batch: Sequence[Row]) -> None:
        """Prefill requests and append them to the rows."""
        ...

    def logits(self) -> Tensor:
        """Feed each row its next input; (n, vocabulary) float32 with the rows first, more only as padding."""
        ...

    def leave(self, index: int, *, keep: bool) -> None:
        """Take a row out, its place taken by the last one; ``keep`` allows to cache what it computed."""
        ...

    def tidy(self) -> None:
        """Called when rows have started or left: give back memory that nobody needs."""
        ...

    def forget(self) -> None:
        """The weights have changed: nothing cached is of use."""
        ...


def forward(shell: PreTrainedModel, ids: Sequence[int], positions: Sequence[int], layout: Layout) -> Tensor:
    """Final hidden states (tokens, width) of one forward under a layout."""
    device = shell.device
    out = body(shell)(
        input_ids=torch.tensor(ids, device=device)[None],
        position_ids=torch.tensor(positions, device=device)[None],
        use_cache=False,
        forest=layout,
    )
    return out.last_hidden_state[0]  # type: ignore[no-any-return]


class TrieDecoder:
    """See the module's text.

    Args:
        shell: a sampler's shell whose attention takes a layout.
        heads: sizes of its keys and values.
        limit: how many rows run together.
        budget_bytes: of the cache, once no row needs it.
    """

    def __init__(self, shell: PreTrainedModel, heads: HeadShape, limit: int, budget_bytes: int) -> None:
        self._shell = shell
        self.cache = TrieCache(budget_bytes)
        self.tails = Tails(heads, limit)
        self.rows: list[Row] = []
        self._shared: list[SharedRun] | None = None
        self.prefilled_tokens = 0
        self.reused_tokens = 0

    def start(self, batch: Sequence[Row]) -> None:
        """See :class:`Decoder`."""
        pending = list(batch)
        while pending:
            taken, tokens = 0, 0
            for row in pending:
                tokens += len(row.prompt_ids)
                if taken and tokens > PREFILL_TOKENS:
                    break
                taken += 1
            self._prefill(pending[:taken])
            pending = pending[taken:]
        ends = [self.cache.match(row.prompt_ids[:-1])[0] for row in batch]
        for node in ends:
            for ancestor in node.path():
                ancestor.users += 1
        for row, node in zip(batch, ends, strict=True):
            path = node.path()
            shared = [n for n in path if n.users > 1]
            private = path[len(shared) :]
            for n in private:
                n.users -= 1
            need = sum(len(n.ids) for n in private) + row.max_tokens + 1
            row.state = _Place(shared[-1] if shared else self.cache.root, need)
            self.tails.reserve(max(need, *(_place(r).need for r in self.rows), 0), len(self.rows))
            self.tails.put(len(self.rows), private)
            self.rows.append(row)
        self._shared = None

    def logits(self) -> Tensor:
        """See :class:`Decoder`."""
        if self._shared is None:
            self._shared = shared_runs([_place(row).anchor for row in self.rows], self.tails.keys.device)
        positions = [row.position for row in self.rows]
        layout = DecodeLayout(self.tails, positions, self._shared)
        hidden = forward(self._shell, [row.next_input for row in self.rows], positions, layout)
        for index in range(len(self.rows)):
            self.tails.lengths[index] += 1
        return logits_of(self._shell, hidden)

    def leave(self, index: int, *, keep: bool) -> None:
        """See :class:`Decoder`."""
        row = self.rows[index]
        anchor = _place(row).anchor
        for node in anchor.path():
            node.users -= 1
        n = self.tails.lengths[index]
        if keep and n:
            # The last sampled token was never fed, so it has no keys.
            seen = [*row.prompt_ids, *row.ids][: row.position]
            keys, values = self.tails.keys[:, index, :, :n], self.tails.values[:, index, :, :n]
            self.cache.insert(anchor, seen[len(seen) - n :], keys, values)
        last = len(self.rows) - 1
        if index != last:
            self.tails.move(last, index)
            self.rows[index] = self.rows[last]
        self.rows.pop()
        self._shared = None

    def tidy(self) -> None:
        """See :class:`Decoder`."""
        self.tails.reserve(max((_place(r).need for r in self.rows), default=0), len(self.rows))
        self.cache.evict()

    def forget(self) -> None:
        """See :class:`Decoder`."""
        self.cache.clear()

    def _prefill(self, batch: Sequence[Row]) -> None:
        below: dict[int, tuple[CacheNode, int, list[TokenPath]]] = {}
        for row in batch:
            prompt = row.prompt_ids[:-1]
            node, depth = self.cache.match(prompt)
            self.reused_tokens += depth
            if depth < len(prompt):
                below.setdefault(id(node), (node, depth, []))[2].append(TokenPath(prompt[depth:], []))
        if not below:
            return
        branches: list[NewBranch] = []
        ids: list[int] = []
        positions: list[int] = []
        for node, depth, paths in below.values():
            forest = TokenForest.build(paths)
            branches.append(NewBranch(node, forest, len(ids)))
            ids += forest.ids.tolist()
            positions += (forest.positions + depth).tolist()
        layout = PrefillLayout(branches)
        forward(self._shell, ids, positions, layout)
        keys, values = torch.stack(layout.keys), torch.stack(layout.values)
        self.prefilled_tokens += len(ids)
        for branch in branches:
            ends: list[CacheNode] = []
            for s in branch.forest.segments:
                parent = branch.node if s.parent < 0 else ends[s.parent]
                own = slice(branch.start + s.start, branch.start + s.stop)
                ends.append(self.cache.insert(parent, ids[own], keys[:, :, own], values[:, :, own]))


@dataclass(frozen=True)
class _Place:
    """A row's deepest shared node, and how many tokens its tail will hold at most."""

    anchor: CacheNode
    need: int


def _place(row: Row) -> _Place:
    assert isinstance(row.state, _Place)
    return row.state
