"""Decoders whose results are bit-equal whatever runs beside a row and whenever it came.

The rounding of a matrix product may depend on how many rows it has, and that of an attention on how its keys are
cut. :class:`FixedDecoder` gives both a shape that follows from the request alone; :class:`PlainDecoder` runs each
row by itself through the model's own forward, which any model can.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homeground.policy import attention
from homeground.policy.attention import Scoring
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.head import logits_of
from homeground.rollouts.cache import CacheNode
from homeground.rollouts.decoder import Decoder, Row, forward
from homeground.rollouts.decoding import NewBranch, PrefillLayout, part, sink, within
from homeground.rollouts.heads import HeadShape
from homeground.rollouts.tails import Tails


class PlainDecoder(Decoder):
    """One row at a time through the model's own forward and its own cache: any model, slowly.

    Requests that start together with equal prompts share one prefill.

    Args:
        shell: a sampler's shell; forest attention is exchanged for the model's own.
    """

    def __init__(self, shell: PreTrainedModel) -> None:
        super().__init__()
        if shell.config._attn_implementation == attention.IMPLEMENTATION:  # pyright: ignore[reportPrivateUsage]
            shell.set_attn_implementation("sdpa" if shell._supports_sdpa else "eager")  # pyright: ignore[reportPrivateUsage]
        self._shell = shell
        self._places = "position_ids" in inspect.signature(shell.forward).parameters

    def start(self, batch: Sequence[Row]) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        prefilled: dict[tuple[int, ...], Any] = {}
        for row in batch:
            prompt = tuple(row.prompt_ids[:-1])
            if prompt and prompt not in prefilled:
                prefilled[prompt] = self._feed(prompt, 0, None).past_key_values
                self.prefilled_tokens += len(prompt)
            # The model writes into its cache, so each row has a copy.
            row.state = copy.deepcopy(prefilled.get(prompt))
            self.rows.append(row)

    def logits(self) -> Tensor:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        rows: list[Tensor] = []
        for row in self.rows:
            out = self._feed([row.next_input], row.position, row.state)
            row.state = out.past_key_values
            rows.append(out.logits[0, -1].float())
        return torch.stack(rows)

    def leave(self, index: int, *, keep: bool) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        self.rows[index].state = None
        super().leave(index, keep=keep)

    def _feed(self, ids: Sequence[int], start: int, cache: Any) -> Any:
        device = self._shell.device
        options: dict[str, Any] = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
        if self._places:
            options["position_ids"] = torch.arange(start, start + len(ids), device=device)[None]
        return self._shell(input_ids=torch.tensor([list(ids)], device=device), **options)


class FixedDecoder(Decoder):
    """Every product has the same number of rows, every attention one row's own path.

    A prompt is prefilled alone and whole, and cached whole under its exact ids: what another request computed for a
    part of it is not used. Decode steps are padded to ``limit`` rows, or, where this machine's products round by a
    row's place, made one row at a time.

    Args:
        shell: a sampler's shell whose attention takes a layout.
        heads: sizes of its keys and values.
        limit: how many rows run together.
        cache_bytes: of the cached prompts.
        tails_bytes: of what running rows are promised; see :class:`homeground.rollouts.tails.Tails`.
    """

    def __init__(
        self, shell: PreTrainedModel, heads: HeadShape, limit: int, cache_bytes: int, tails_bytes: int
    ) -> None:
        super().__init__()
        self._shell = shell
        self._tails = Tails(heads, tails_bytes)
        self._budget = cache_bytes
        self._prompts: OrderedDict[tuple[int, ...], CacheNode] = OrderedDict()
        nothing = torch.empty(0)
        self._root = CacheNode(None, [], nothing, nothing)
        self.slots = limit if limit > 1 and self._places_are_alike(limit) else 1

    def fits(self, batch: Sequence[Row]) -> int:
        """See :class:`homeground.rollouts.decoder.Decoder`; every tail holds the row's whole path."""
        return self._tails.fits(_needs(batch))

    def start(self, batch: Sequence[Row]) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        prompts = [tuple(row.prompt_ids[:-1]) for row in batch]
        self._tails.add([[self._prefilled(prompt)] if prompt else [] for prompt in prompts], _needs(batch))
        self.rows += batch

    def logits(self) -> Tensor:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        self._tails.widen()
        pieces: list[Tensor] = []
        for first in range(0, len(self.rows), self.slots):
            some = self.rows[first : first + self.slots]
            padding = [0] * (self.slots - len(some))
            layout = _OwnPathLayout(self._tails, first, len(some))
            ids = [row.next_input for row in some] + padding
            hidden = forward(self._shell, ids, [row.position for row in some] + padding, layout)
            pieces.append(logits_of(self._shell, hidden))
        for index in range(len(self.rows)):
            self._tails.lengths[index] += 1
        return torch.cat(pieces)

    def leave(self, index: int, *, keep: bool) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        self._tails.remove(index)
        super().leave(index, keep=keep)

    def tidy(self) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        self._tails.trim()
        while sum(n.bytes for n in self._prompts.values()) > self._budget:
            self._prompts.popitem(last=False)

    def forget(self) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        self._prompts.clear()

    def reset(self) -> None:
        """See :class:`homeground.rollouts.decoder.Decoder`."""
        super().reset()
        self._tails.clear()

    def _prefilled(self, prompt: tuple[int, ...]) -> CacheNode:
        if prompt in self._prompts:
            self._prompts.move_to_end(prompt)
            self.reused_tokens += len(prompt)
        else:
            layout = PrefillLayout([NewBranch(self._root, TokenForest.build([TokenPath(prompt, [])]), 0)])
            forward(self._shell, prompt, range(len(prompt)), layout)
            self.prefilled_tokens += len(prompt)
            keys, values = torch.stack(layout.keys), torch.stack(layout.values)
            self._prompts[prompt] = CacheNode(self._root, prompt, keys, values)
        return self._prompts[prompt]

    def _places_are_alike(self, rows: int) -> bool:
        """Whether a row's results stay bit-equal when it and its neighbours change places."""
        vocabulary: int = self._shell.config.get_text_config().vocab_size
        ids = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(0)).tolist()
        first: Tensor | None = None
        with torch.no_grad():
            for turn in (0, 1, rows // 2):
                layout = _OwnPathLayout(self._tails, 0, 0)
                hidden = forward(self._shell, ids[turn:] + ids[:turn], [0] * rows, layout)
                logits = logits_of(self._shell, hidden).roll(turn, 0)
                if first is None:
                    first = logits
                elif not torch.equal(first, logits):
                    return False
        return True


def _needs(batch: Sequence[Row]) -> list[int]:
    return [len(row.prompt_ids) + row.max_tokens for row in batch]


class _OwnPathLayout:
    """One new token for each of some rows, each attending its own tail alone; what follows them is padding.

    Args:
        tails: hold the whole path of each row, with room for one token more.
        first, count: the rows.
    """

    def __init__(self, tails: Tails, first: int, count: int) -> None:
        self._tails = [(*tails.find(row), tails.lengths[row] + 1) for row in range(first, first + count)]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """See :class:`homeground.policy.attention.Layout`; query is (1, heads, rows and padding, head size)."""
        _, heads, slots, size = query.shape
        kv_heads = key.shape[1]
        rep = heads // kv_heads
        # Padding attends itself, where its values are.
        out = value[0].repeat_interleave(rep, 0).transpose(0, 1).contiguous()
        for row, (shelf, place, stop) in enumerate(self._tails):
            keys, values = shelf.keys[layer][place, :, :stop], shelf.values[layer][place, :, :stop]
            keys[:, -1], values[:, -1] = key[0, :, row], value[0, :, row]
            grouped = query[0, :, row].reshape(1, kv_heads, rep, size)
            mask = within(torch.tensor([stop - 1]), torch.arange(stop), scoring.window)
            mask = None if mask is None else mask.to(query.device)
            own, lse = part(grouped, keys[None], values[None], scoring, mask=mask)
            if scoring.sinks is not None:
                own = own.float()
                sink(own, lse, scoring.sinks.view(1, kv_heads, rep))
            out[row] = own.reshape(heads, -1).to(out.dtype)
        return out.transpose(0, 1)[None].reshape(1, heads, slots, -1)
