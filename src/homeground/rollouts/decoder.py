"""What a sampler's rows compute: the decoder over the trie of cached keys and values.

A prompt is prefilled up to its last token, into the cache; the last token is the row's first decode step, so that
siblings of one prompt share all of it and every row starts alike. When a row ends, its tokens stay cached: the next
turn of an agent computes only what is new.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.policy.attention import Layout
from homeground.policy.forest import TokenForest, TokenPath, common_prefix
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


class Decoder(ABC):
    """Computes for the rows that run together; all calls come from one thread, without gradients."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.prefilled_tokens = 0
        self.reused_tokens = 0

    def fits(self, batch: Sequence[Row]) -> int:
        """How many of these, in order, may start beside the rows that run; at least one where none runs."""
        return len(batch)

    @abstractmethod
    def start(self, batch: Sequence[Row]) -> None:
        """Prefill requests that fit and append them to the rows."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Feed each row its next input; (n, vocabulary) float32 with the rows first, more only as padding."""

    def leave(self, index: int, *, keep: bool) -> None:
        """Take a row out, its place taken by the last one; ``keep`` allows to cache what it computed."""
        del keep
        self.rows[index] = self.rows[-1]
        self.rows.pop()

    def tidy(self) -> None:  # noqa: B027 (a decoder may keep nothing)
        """Give back memory that nobody needs; called when rows have started or left."""

    def forget(self) -> None:  # noqa: B027
        """Drop all that is cached: the weights have changed."""

    def reset(self) -> None:
        """Drop all rows and all that is cached."""
        self.rows.clear()
        self.forget()


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


class TrieDecoder(Decoder):
    """See the module's text.

    Args:
        shell: a sampler's shell whose attention takes a layout.
        heads: sizes of its keys and values.
        cache_bytes: of the cache, once no row needs it.
        tails_bytes: of what running rows are promised; see :class:`homeground.rollouts.tails.Tails`.
    """

    def __init__(self, shell: PreTrainedModel, heads: HeadShape, cache_bytes: int, tails_bytes: int) -> None:
        super().__init__()
        self._shell = shell
        self._device = heads.device
        self.cache = TrieCache(cache_bytes)
        self.tails = Tails(heads, tails_bytes)
        self._shared: list[SharedRun] | None = None

    def fits(self, batch: Sequence[Row]) -> int:
        """See :class:`Decoder`; a prompt's beginning that another of these or a running row shares is in no tail."""
        most = [len(row.prompt_ids) + row.max_tokens for row in batch]
        if self.tails.fits(most) == len(batch):
            return len(batch)
        prompts = [row.prompt_ids[:-1] for row in batch]
        shared = [
            max(self._used_prefix(prompt), *(common_prefix(prompt, other) for other in prompts[:index]), 0)
            for index, prompt in enumerate(prompts)
        ]
        return self.tails.fits([n - depth for n, depth in zip(most, shared, strict=True)])

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
        tails: list[list[CacheNode]] = []
        for row, node in zip(batch, ends, strict=True):
            path = node.path()
            shared = [n for n in path if n.users > 1]
            private = path[len(shared) :]
            for n in private:
                n.users -= 1
            row.state = shared[-1] if shared else self.cache.root
            tails.append(private)
        needs = [sum(len(n.ids) for n in tail) + row.max_tokens for row, tail in zip(batch, tails, strict=True)]
        self.tails.add(tails, needs)
        self.rows += batch
        self._shared = None

    def logits(self) -> Tensor:
        """See :class:`Decoder`."""
        self.tails.widen()
        if self._shared is None:
            self._shared = shared_runs([_anchor(row) for row in self.rows], self._device)
        positions = [row.position for row in self.rows]
        layout = DecodeLayout(self.tails, positions, self._shared)
        hidden = forward(self._shell, [row.next_input for row in self.rows], positions, layout)
        for index in range(len(self.rows)):
            self.tails.lengths[index] += 1
        return logits_of(self._shell, hidden)

    def leave(self, index: int, *, keep: bool) -> None:
        """See :class:`Decoder`."""
        row = self.rows[index]
        anchor = _anchor(row)
        for node in anchor.path():
            node.users -= 1
        n = self.tails.lengths[index]
        if keep and n:
            # The last sampled token was never fed, so it has no keys.
            seen = [*row.prompt_ids, *row.ids][: row.position]
            self.cache.insert(anchor, seen[len(seen) - n :], *self.tails.read(index))
        self.tails.remove(index)
        self._shared = None
        super().leave(index, keep=keep)

    def tidy(self) -> None:
        """See :class:`Decoder`."""
        self.tails.trim()
        self.cache.evict()

    def forget(self) -> None:
        """See :class:`Decoder`."""
        self.cache.clear()

    def reset(self) -> None:
        """See :class:`Decoder`."""
        super().reset()
        self.tails.clear()

    def _used_prefix(self, prompt: Sequence[int]) -> int:
        """Tokens of a prompt's beginning that running rows attend in the cache."""
        node, _ = self.cache.match(prompt)
        return sum(len(n.ids) for n in node.path() if n.users)

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


def _anchor(row: Row) -> CacheNode:
    """The deepest node that a row shares."""
    assert isinstance(row.state, CacheNode)
    return row.state
