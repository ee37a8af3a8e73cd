"""The sampler: many requests at once through one shell of the policy, on a trie of cached keys and values.

Requests join and leave between decode steps. A prompt is prefilled up to its last token, into the cache; the
last token is the row's first decode step, so that siblings of one prompt share all of it and every row starts
alike. When a row ends, its tokens stay cached: the next turn of an agent computes only what is new.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from homeground.base.errors import HomegroundError
from homeground.base.threads import release_workers
from homeground.policy import shells
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy
from homeground.policy.logprobs import body, logits_of
from homeground.rollouts.cache import CacheNode, TrieCache
from homeground.rollouts.decoding import DecodeLayout, NewBranch, PrefillLayout, Tails
from homeground.rollouts.sampling import SamplingParams, choose

PREFILL_TOKENS = 2048
GATHER_SECONDS = 0.004


class FinishReason(StrEnum):
    """Why a generation ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Generation:
    """What was sampled.

    Attributes:
        prompt_ids: as given.
        ids: sampled tokens, the end token included when it was sampled.
        logprobs: the policy's log-probability of each.
        finish_reason: an end token, or the limit.
        weights_version: how many times the policy had been published when the request began.
    """

    prompt_ids: list[int]
    ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    weights_version: int


@dataclass
class _Row:
    prompt_ids: list[int]
    params: SamplingParams
    max_tokens: int
    stop_ids: frozenset[int]
    future: Future[Generation]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    anchor: CacheNode | None = None
    version: int = 0

    @property
    def next_input(self) -> int:
        return self.ids[-1] if self.ids else self.prompt_ids[-1]

    @property
    def position(self) -> int:
        return len(self.prompt_ids) + len(self.ids) - 1


class Sampler:
    """Samples a policy from its own thread; use it as a context manager.

    Args:
        policy: whose adapter is copied at construction and at every :meth:`publish`.
        rows: how many requests decode together.
        cache_mb: bytes of keys and values kept between requests.
        compute: held during every forward; share it with a trainer on the same device.

    Raises:
        HomegroundError: the policy lies on a device that the sampler does not drive.
    """

    def __init__(
        self, policy: Policy, *, rows: int = 48, cache_mb: int = 1024, compute: threading.Lock | None = None
    ) -> None:
        if policy.device.type != "cpu":
            raise HomegroundError(
                f"the sampler runs on the CPU, and this policy lies on {policy.device}",
                hint="load the policy with device='cpu'",
            )
        self._policy = policy
        self._shell = shells.sampler_shell(policy.model, policy.dtype)
        config = policy.model.config
        self._context: int = config.max_position_embeddings
        head_size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        kv = (config.num_hidden_layers, config.num_key_value_heads, head_size)
        self._cache = TrieCache(*kv, dtype=policy.dtype, budget_bytes=cache_mb << 20)
        self._tails = Tails(kv[0], rows, kv[1], kv[2], policy.dtype)
        self._limit = rows
        self._rows: list[_Row] = []
        self._inbox: queue.SimpleQueue[_Row | None] = queue.SimpleQueue()
        self._compute = compute or threading.Lock()
        self._version = 0
        self._door = threading.Lock()
        self._closed = False
        self.prefilled_tokens = 0
        self.reused_tokens = 0
        self.sampled_tokens = 0
        self._thread = threading.Thread(target=self._run, name="homeground-sampler", daemon=True)
        self._thread.start()

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def weights_version(self) -> int:
        """How many times the policy was published."""
        return self._version

    def submit(
        self,
        prompt_ids: Sequence[int],
        max_tokens: int,
        params: SamplingParams | None = None,
        stop_ids: Sequence[int] = (),
    ) -> Future[Generation]:
        """Queue a request.

        Args:
            prompt_ids: at least one token.
            max_tokens: at most this many are sampled (>= 1).
            params: temperature 1 when not given.
            stop_ids: sampling one of these ends the row; it is kept.

        Raises:
            ValueError: empty prompt, or prompt and answer do not fit the model's context.
        """
        if not prompt_ids or max_tokens < 1:
            raise ValueError("a request needs a prompt of at least one token and max_tokens >= 1")
        if len(prompt_ids) + max_tokens > self._context:
            raise ValueError(
                f"{len(prompt_ids)} prompt tokens and {max_tokens} to sample exceed the context of {self._context}"
            )
        future: Future[Generation] = Future()
        row = _Row(list(prompt_ids), params or SamplingParams(), max_tokens, frozenset(stop_ids), future)
        with self._door:
            if self._closed:
                raise RuntimeError("the sampler is closed")
            self._inbox.put(row)
        return future

    def publish(self) -> int:
        """Copy the policy's adapter into the shell, forget what the old one cached; returns the new version."""
        with self._compute:
            shells.publish(self._policy.model, self._shell)
            self._cache.clear()
            self._version += 1
            return self._version

    def close(self) -> None:
        """Stop the thread; requests that have not ended are cancelled."""
        with self._door:
            self._closed = True
            self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            if self._rows:
                try:
                    with self._compute, torch.inference_mode():
                        self._step()
                except Exception as error:
                    self._fail(self._rows, error)
        for row in [*self._rows, *self._drain()]:
            row.future.cancel()

    def _fail(self, rows: list[_Row], error: Exception) -> None:
        """Tell whoever waits; what was being written is in doubt, so the next requests find an empty sampler."""
        for row in [*rows, *self._rows]:
            with contextlib.suppress(InvalidStateError):
                row.future.set_exception(error)
        self._rows.clear()
        self._cache.clear()

    def _drain(self) -> list[_Row]:
        rows: list[_Row] = []
        while not self._inbox.empty():
            row = self._inbox.get()
            if row is not None:
                rows.append(row)
        return rows

    def _admit(self) -> bool:
        """Take waiting requests; blocks while there is nothing to do. False when closed."""
        if self._closed:
            return False
        batch: list[_Row] = []
        wait: float | None = None if not self._rows else 0.0
        if not self._rows:
            release_workers()
        while len(self._rows) + len(batch) < self._limit:
            try:
                row = self._inbox.get(timeout=wait) if wait != 0.0 else self._inbox.get_nowait()
            except queue.Empty:
                break
            if row is None:
                for waiting in batch:
                    waiting.future.cancel()
                return False
            batch.append(row)
            # Siblings arrive within milliseconds of each other; together they are prefilled once.
            wait = GATHER_SECONDS
        batch = [row for row in batch if not row.future.cancelled()]
        if batch:
            try:
                with self._compute, torch.inference_mode():
                    self._start(batch)
            except Exception as error:
                self._fail(batch, error)
        return True

    def _start(self, batch: list[_Row]) -> None:
        for row in batch:
            row.version = self._version
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
        ends = [self._cache.match(row.prompt_ids[:-1])[0] for row in batch]
        for node in ends:
            for ancestor in node.path():
                ancestor.users += 1
        for row, node in zip(batch, ends, strict=True):
            path = node.path()
            shared = [n for n in path if n.users > 1]
            for n in path[len(shared) :]:
                n.users -= 1
            row.anchor = shared[-1] if shared else self._cache.root
            private = path[len(shared) :]
            self._tails.reserve(sum(len(n.ids) for n in private) + row.max_tokens + 1)
            self._tails.put(len(self._rows), private)
            self._rows.append(row)
        self._cache.evict()

    def _prefill(self, batch: list[_Row]) -> None:
        below: dict[int, tuple[CacheNode, int, list[TokenPath]]] = {}
        for row in batch:
            prompt = row.prompt_ids[:-1]
            node, depth = self._cache.match(prompt)
            self.reused_tokens += depth
            if depth < len(prompt):
                below.setdefault(id(node), (node, depth, []))[2].append(TokenPath(prompt[depth:], []))
        if not below:
            return
        branches: list[NewBranch] = []
        ids: list[Tensor] = []
        positions: list[Tensor] = []
        start = 0
        for node, depth, paths in below.values():
            forest = TokenForest.build(paths)
            branches.append(NewBranch(node, forest, start))
            ids.append(forest.ids)
            positions.append(forest.positions + depth)
            start += len(forest)
        layout = PrefillLayout(branches)
        self._forward(torch.cat(ids), torch.cat(positions), layout)
        keys, values = layout.captured()
        self.prefilled_tokens += start
        for branch in branches:
            ends: list[CacheNode] = []
            for s in branch.forest.segments:
                parent = branch.node if s.parent < 0 else ends[s.parent]
                own = slice(branch.start + s.start, branch.start + s.stop)
                run = branch.forest.ids[s.start : s.stop].tolist()
                ends.append(self._cache.insert(parent, run, keys[:, :, own], values[:, :, own]))

    def _step(self) -> None:
        rows = self._rows
        members: dict[int, tuple[CacheNode, list[int]]] = {}
        for index, row in enumerate(rows):
            assert row.anchor is not None
            for node in row.anchor.path():
                members.setdefault(id(node), (node, []))[1].append(index)
        shared = [(node, torch.tensor(who)) for node, who in members.values()]
        layout = DecodeLayout(self._tails, len(rows), shared)
        hidden = self._forward(
            torch.tensor([row.next_input for row in rows]), torch.tensor([row.position for row in rows]), layout
        )
        ids, logprobs = choose(logits_of(self._shell, hidden), [r.params for r in rows], [len(r.ids) for r in rows])
        for index in range(len(rows)):
            self._tails.lengths[index] += 1
        self.sampled_tokens += len(rows)
        chosen = zip(rows, ids.tolist(), logprobs.tolist(), strict=True)
        ended: list[int] = []
        for index, (row, token, logprob) in enumerate(chosen):
            row.ids.append(token)
            row.logprobs.append(logprob)
            if token in row.stop_ids or len(row.ids) >= row.max_tokens or row.future.cancelled():
                ended.append(index)
        for index in reversed(ended):
            self._finish(index)

    def _finish(self, index: int) -> None:
        row = self._rows[index]
        assert row.anchor is not None
        for node in row.anchor.path():
            node.users -= 1
        if row.version == self._version:
            self._remember(row, index)
        last = len(self._rows) - 1
        if index != last:
            self._tails.move(last, index)
            self._rows[index] = self._rows[last]
        self._rows.pop()
        stopped = row.ids[-1] in row.stop_ids
        reason = FinishReason.STOP if stopped else FinishReason.LENGTH
        # A future that never starts "running" can be cancelled at any time; a client may have hung up just now.
        with contextlib.suppress(InvalidStateError):
            row.future.set_result(Generation(row.prompt_ids, row.ids, row.logprobs, reason, row.version))

    def _remember(self, row: _Row, index: int) -> None:
        """Cache a finished row's tail; the last sampled token was never fed, so it has no keys."""
        assert row.anchor is not None
        n = self._tails.lengths[index]
        seen = [*row.prompt_ids, *row.ids][:-1]
        keys, values = self._tails.keys[:, index, :, :n], self._tails.values[:, index, :, :n]
        self._cache.insert(row.anchor, seen[len(seen) - n :], keys, values)

    def _forward(self, ids: Tensor, positions: Tensor, layout: PrefillLayout | DecodeLayout) -> Tensor:
        out = body(self._shell)(input_ids=ids[None], position_ids=positions[None], use_cache=False, forest=layout)
        return out.last_hidden_state[0]
