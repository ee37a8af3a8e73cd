"""The sampler: many requests at once through one shell of the policy.

Requests join and leave between decode steps. What the rows compute, and what is cached between requests, is the
business of a decoder: over a trie of cached keys and values for models whose attention takes one, row by row through
the model's own forward for the rest, and with shapes that do not depend on company in ``deterministic`` mode.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import warnings
from concurrent.futures import Future, InvalidStateError

import torch

from homeground.base.threads import release_workers
from homeground.policy import shells
from homeground.policy.load import Policy
from homeground.rollouts.decoder import Decoder, Row, TrieDecoder
from homeground.rollouts.engine import Engine, FinishReason, Generation, SamplingRequest
from homeground.rollouts.fixed import FixedDecoder, PlainDecoder
from homeground.rollouts.heads import HeadShape, context_of, head_shape
from homeground.rollouts.sampling import SamplingParams, choose, likeliest
from homeground.rollouts.stopping import StopWatch

GATHER_SECONDS = 0.004
ROWS_MB = 4096
_NOBODY = SamplingParams(temperature=0)


class Sampler(Engine):
    """Samples a policy from its own thread; use it as a context manager.

    Args:
        policy: whose adapter is copied at construction and at every :meth:`publish`.
        rows: how many requests decode together.
        cache_mb: MiB of keys and values kept between requests.
        rows_mb: MiB of keys and values that running rows may come to hold, every answer being as long as it may be. A
            request that might exceed it waits, with those behind it, until rows end, so that a row that runs
            always gets what it grows into. One that exceeds it by itself runs alone.
        compute: held during every forward; share it with a trainer on the same device.
        deterministic: bit-equal ids and log-probabilities from run to run on one machine, whatever the order in
            which requests arrive and whatever runs beside them; slower, and an agent's next turn
            computes its whole history again.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        rows: int = 48,
        cache_mb: int = 1024,
        rows_mb: int = ROWS_MB,
        compute: threading.Lock | None = None,
        deterministic: bool = False,
    ) -> None:
        self._policy = policy
        self._shell = shells.sampler_shell(policy.model, policy.dtype)
        self.context = context_of(policy.model)
        self._limit = rows
        self._decoder = self._decoder_for(cache_mb << 20, rows_mb << 20, deterministic)
        self._inbox: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._held: list[Row] = []
        self._full = False
        self._compute = compute or threading.Lock()
        self.weights_version = 0
        self._door = threading.Lock()
        self._closed = False
        self.sampled_tokens = 0
        # Building the shell has computed in this thread, which now waits for answers.
        release_workers()
        self._thread = threading.Thread(target=self._run, name="homeground-sampler", daemon=True)
        self._thread.start()

    def _decoder_for(self, cache_bytes: int, tails_bytes: int, deterministic: bool) -> Decoder:
        found: list[HeadShape | str] = []
        with self._policy.autocast():
            shells.share_inputs(self._shell, lambda: found.append(head_shape(self._shell)))
        (heads,) = found
        if isinstance(heads, str):
            warnings.warn(
                f"{type(self._shell).__name__} is sampled one row at a time, many times slower: {heads}", stacklevel=3
            )
            return PlainDecoder(self._shell)
        if deterministic:
            return FixedDecoder(self._shell, heads, self._limit, cache_bytes, tails_bytes)
        return TrieDecoder(self._shell, heads, cache_bytes, tails_bytes)

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens computed so far."""
        return self._decoder.prefilled_tokens

    @property
    def reused_tokens(self) -> int:
        """Prompt tokens found in the cache so far."""
        return self._decoder.reused_tokens

    def start(self, request: SamplingRequest) -> Future[Generation]:
        """Queue a request; cancelling the future takes it out of the batch before the next step."""
        watch = StopWatch(self._policy.tokenizer, request.stop) if request.stop else None
        row = Row(
            request.prompt_ids, request.params, request.max_tokens, request.stop_ids, watch, Future(),
            grammar=request.grammar, listen=request.listen,
        )  # fmt: skip
        with self._door:
            if self._closed:
                raise RuntimeError("the sampler is closed")
            self._inbox.put(row)
        return row.future

    def publish(self) -> int:
        """Copy the policy's adapter into the shell, forget what the old one cached; returns the new version."""
        with self._compute:
            shells.publish(self._policy.model, self._shell)
            self._decoder.forget()
            self.weights_version += 1
            return self.weights_version

    def close(self) -> None:
        """Stop the thread; requests that have not ended are cancelled."""
        with self._door:
            self._closed = True
            self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            if self._decoder.rows:
                try:
                    with self._compute, torch.inference_mode(), self._policy.autocast():
                        self._step()
                except Exception as error:
                    self._fail([], error)
        for row in [*self._decoder.rows, *self._held, *self._drain()]:
            row.future.cancel()

    def _fail(self, rows: list[Row], error: Exception) -> None:
        """Tell whoever waits; what was being written is in doubt, so the next requests find an empty sampler."""
        for row in [*rows, *self._decoder.rows]:
            with contextlib.suppress(InvalidStateError):
                row.future.set_exception(error)
        self._decoder.reset()
        self._full = False

    def _drain(self) -> list[Row]:
        rows: list[Row] = []
        while not self._inbox.empty():
            row = self._inbox.get()
            if row is not None:
                rows.append(row)
        return rows

    def _admit(self) -> bool:
        """Take waiting requests; blocks while there is nothing to do. False when closed."""
        if self._closed:
            return False
        if self._full:
            return True
        if not self._gather():
            return False
        batch = [row for row in self._held if not row.future.cancelled()]
        self._held = []
        if batch:
            try:
                with self._compute, torch.inference_mode(), self._policy.autocast():
                    count = self._decoder.fits(batch)
                    batch, self._held = batch[:count], batch[count:]
                    # Nobody overtakes them, and before a row has left there is no room for them.
                    self._full = bool(self._held)
                    for row in batch:
                        row.version = self.weights_version
                    self._decoder.start(batch)
                    self._decoder.tidy()
            except Exception as error:
                self._fail(batch, error)
        return True

    def _gather(self) -> bool:
        """Move requests from the inbox behind those that were held back, as many as may run; False when closed."""
        running = len(self._decoder.rows)
        wait: float | None = 0.0 if running or self._held else None
        if not running:
            release_workers()
        while running + len(self._held) < self._limit:
            try:
                row = self._inbox.get(timeout=wait) if wait != 0.0 else self._inbox.get_nowait()
            except queue.Empty:
                break
            if row is None:
                return False
            self._held.append(row)
            # Siblings arrive within milliseconds of each other; together they are prefilled once.
            wait = GATHER_SECONDS
        return True

    def _step(self) -> None:
        rows = self._decoder.rows
        self._finish([i for i, row in enumerate(rows) if row.future.cancelled()])
        if not rows:
            return
        logits = self._decoder.logits()
        padding = len(logits) - len(rows)
        params = [row.params for row in rows] + [_NOBODY] * padding
        for row, scores in zip(rows, logits, strict=False):
            if row.params.likeliest:
                row.likeliest.append(likeliest(scores, row.params))
        allowed = {
            index: row.grammar.allowed(logits.shape[1]) for index, row in enumerate(rows) if row.grammar is not None
        }
        ids, logprobs = choose(logits, params, [len(row.ids) for row in rows] + [0] * padding, allowed)
        self.sampled_tokens += len(rows)
        ended: list[int] = []
        for index, (row, token, logprob) in enumerate(zip(rows, ids.tolist(), logprobs.tolist(), strict=False)):
            row.ids.append(token)
            row.logprobs.append(logprob)
            if row.listen is not None:
                row.listen(token)
            row.stopped = token in row.stop_ids or (row.watch is not None and row.watch.completed_by(row.ids))
            if row.stopped or len(row.ids) >= row.max_tokens:
                ended.append(index)
            elif row.grammar is not None:
                row.grammar.add(token)
        self._finish(ended)

    def _finish(self, ended: list[int]) -> None:
        rows = [self._decoder.rows[index] for index in ended]
        for index, row in zip(reversed(ended), reversed(rows), strict=True):
            self._decoder.leave(index, keep=row.version == self.weights_version)
        if rows:
            self._decoder.tidy()
            self._full = False
        for row in rows:
            reason = FinishReason.STOP if row.stopped else FinishReason.LENGTH
            # A future that never starts "running" can be cancelled at any time; a client may have hung up just now.
            with contextlib.suppress(InvalidStateError):
                row.future.set_result(
                    Generation(row.prompt_ids, row.ids, row.logprobs, reason, row.version, row.likeliest)
                )
