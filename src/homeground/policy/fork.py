"""A forest by forked states: for models that carry a state along their row (linear attention, SSM, hybrids).

Such a model cannot compute a whole forest in one forward: its state after a token depends on all tokens before, in
order. Segments run one after another instead, each from its parent's state (:mod:`homeground.policy.fork_cache`), so
that every distinct token is still computed once. Sibling segments run together as the rows of a batch: those that
something continues with siblings of the same length, leaves padded on the right to the longest of their batch.

Two rules keep this exact. A padded row's state is thrown away, so only leaves are padded. And no forward that
continues a state has a single token, for which these models have decoding code that writes into the state in place
and has no gradient: a leaf of one token is padded to two, an inner segment of one token is computed again in front of
each of its children.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from homeground.policy.forest import TokenForest
from homeground.policy.fork_cache import ForkedCache, Layer, blank_state, of_row, repeated

PADDING = 0.25
"""How much of a batch of leaves may be padding."""


@dataclass(frozen=True)
class Row:
    """A row of a batch: the tokens that it computes, and which segment ends with them."""

    nodes: tuple[int, ...]
    segment: int
    leaf: bool


@dataclass(frozen=True)
class Batch:
    """Rows that continue the same segment, or nothing (-1); width is the number of tokens of each, padding included."""

    origin: int
    rows: tuple[Row, ...]
    width: int


def schedule(forest: TokenForest) -> list[Batch]:
    """The forwards of a forest; each comes after the one that it continues."""
    children = forest.children()
    batches: list[Batch] = []
    pending: list[tuple[int, tuple[int, ...], int]] = [(-1, (), -1)]
    while pending:
        origin, again, parent = pending.pop()
        rows: list[Row] = []
        for index in children[parent]:
            segment = forest.segments[index]
            nodes = (*again, *range(segment.start, segment.stop))
            if index in children and len(nodes) == 1 and origin >= 0:
                pending.append((origin, nodes, index))
                continue
            rows.append(Row(nodes, index, index not in children))
            if index in children:
                pending.append((index, (), index))
        batches += _batches(origin, rows)
    return batches


def _batches(origin: int, rows: Sequence[Row]) -> Iterator[Batch]:
    narrowest = 1 if origin < 0 else 2
    group: list[Row] = []
    for row in sorted(rows, key=lambda r: (r.leaf, len(r.nodes))):
        if group and not _fits(group, row):
            yield Batch(origin, tuple(group), max(narrowest, len(group[-1].nodes)))
            group = []
        group.append(row)
    if group:
        yield Batch(origin, tuple(group), max(narrowest, len(group[-1].nodes)))


def _fits(group: Sequence[Row], row: Row) -> bool:
    """Whether a row that is at least as long as those of a group may join them."""
    if row.leaf != group[0].leaf:
        return False
    if not row.leaf:
        return len(row.nodes) == len(group[0].nodes)
    computed = len(row.nodes) * (len(group) + 1)
    return computed - sum(len(r.nodes) for r in (*group, row)) <= PADDING * computed


def forked_hidden(model: PreTrainedModel, decoder: nn.Module, forest: TokenForest) -> Tensor:
    """Final hidden state of every node, shape (N, hidden size), in the forest's order.

    Args:
        model: with an attention implementation of its own, not the forest's.
        decoder: its body.
        forest: on the model's device.

    Raises:
        NotImplementedError: a layer's state cannot be forked.
        RuntimeError: the model does not carry its cache through, or reentrant checkpointing would lose gradients.
    """
    states: dict[int, list[Layer]] = {-1: blank_state(model.config)}
    found: list[Tensor] = []
    place = torch.full((len(forest),), -1)
    filled = 0
    with _checkpointing_with_cache(decoder):
        for batch in schedule(forest):
            hidden, after = _forward(decoder, forest, batch, states[batch.origin])
            for number, row in enumerate(batch.rows):
                if not row.leaf:
                    states[row.segment] = of_row(after, number) if len(batch.rows) > 1 else after
                start = filled + number * batch.width
                place[list(row.nodes)] = torch.arange(start, start + len(row.nodes))
            found.append(hidden.flatten(0, 1))
            filled += hidden.shape[0] * hidden.shape[1]
    return torch.cat(found)[place.to(found[0].device)]


def _forward(decoder: nn.Module, forest: TokenForest, batch: Batch, before: list[Layer]) -> tuple[Tensor, list[Layer]]:
    # A row is padded with its own last token: any token would do.
    nodes = torch.tensor([[*r.nodes, *r.nodes[-1:] * (batch.width - len(r.nodes))] for r in batch.rows])
    depth = int(forest.positions[batch.rows[0].nodes[0]])
    ids = forest.ids[nodes.to(forest.ids.device)]
    return continued(decoder, ids, repeated(before, len(ids)) if len(ids) > 1 else before, depth)


def continued(decoder: nn.Module, ids: Tensor, before: list[Layer], depth: int) -> tuple[Tensor, list[Layer]]:
    """Hidden states of tokens that go on from a state, and the state after them.

    Args:
        decoder: a model's body.
        ids: shape (rows, tokens).
        before: the state of as many rows.
        depth: how many tokens it has seen.
    """
    cache = ForkedCache(before)
    accepted = inspect.signature(decoder.forward).parameters
    arguments: dict[str, Any] = {"cache_params" if "cache_params" in accepted else "past_key_values": cache}
    if "position_ids" in accepted:
        arguments["position_ids"] = (depth + torch.arange(ids.shape[1], device=ids.device)).expand(ids.shape)
    hidden: Tensor = decoder(input_ids=ids, use_cache=False, **arguments).last_hidden_state
    return hidden, cache.close()


@contextmanager
def _checkpointing_with_cache(decoder: nn.Module) -> Generator[None]:
    """Let checkpointed layers keep their cache, which transformers takes away: ours bears a repeated forward."""
    layers = [m for m in decoder.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        function = getattr(layer, "_gradient_checkpointing_func", None)
        if layer.gradient_checkpointing and getattr(function, "keywords", {}).get("use_reentrant", True):
            raise RuntimeError(
                "reentrant checkpointing loses the gradients that siblings send into their prefix; "
                'enable it with gradient_checkpointing_kwargs={"use_reentrant": False}'
            )
    for layer in layers:
        layer._can_checkpoint_with_cache = True  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        for layer in layers:
            del layer._can_checkpoint_with_cache  # pyright: ignore[reportPrivateUsage]
