"""Log-probabilities of trained tokens under a causal language model.

:func:`forest_logprobs` computes a forest in one forward, :func:`fork_logprobs` segment by segment,
:func:`row_logprobs` one padless row at a time through the model's own forward: the plain reference of the other two,
and what a model that can do neither falls back to (:mod:`homeground.policy.strategy` chooses). The output head runs
only on the hidden states that some term needs, each once, in chunks of which the logits are not kept, so that
N x vocabulary logits never exist together.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from homeground.policy.attention import ForestLayout, Layout
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.fork import forked_hidden
from homeground.policy.head import HeadLogprobs, Scratch, logits_of, plain_head

HEAD_CHUNK = 128


def forest_logprobs(
    model: PreTrainedModel, forest: TokenForest, temperature: float = 1.0, layout: Layout | None = None
) -> Tensor:
    """Log-probability of every term of a forest.

    Args:
        model: a causal language model loaded with ``attn_implementation="homeground_forest"``.
        forest: the batch, on the model's device.
        temperature: logits are divided by it, exactly as the sampler did (> 0).
        layout: how its tokens attend, when it is not simply the forest's.

    Returns:
        Natural-log probabilities, shape (M,), float32, in the forest's term order.
    """
    hidden = body(model)(
        input_ids=forest.ids[None],
        position_ids=forest.positions[None],
        use_cache=False,
        forest=layout or ForestLayout(forest),
    ).last_hidden_state[0]
    return _term_logprobs(model, hidden, forest, temperature)


def fork_logprobs(model: PreTrainedModel, forest: TokenForest, temperature: float = 1.0) -> Tensor:
    """The same by forked states, for a model that has an attention implementation of its own."""
    return _term_logprobs(model, forked_hidden(model, body(model), forest), forest, temperature)


def _term_logprobs(model: PreTrainedModel, hidden: Tensor, forest: TokenForest, temperature: float) -> Tensor:
    nodes, which = torch.unique(forest.source, return_inverse=True)
    # Sorting terms by node lets each chunk of hidden states meet all of its targets.
    order = torch.argsort(which, stable=True)
    counts = torch.bincount(which, minlength=len(nodes))
    pieces: list[Tensor] = []
    first = 0
    weight = plain_head(model)
    scratch = None if weight is None else Scratch(min(HEAD_CHUNK, len(nodes)), weight)
    for start in range(0, len(nodes), HEAD_CHUNK):
        last = first + int(counts[start : start + HEAD_CHUNK].sum())
        chosen = order[first:last]
        rows = hidden[nodes[start : start + HEAD_CHUNK]]
        terms = (which[chosen] - start, forest.target[chosen], temperature)
        if weight is not None:
            pieces.append(HeadLogprobs.apply(rows, weight, *terms, scratch))  # pyright: ignore
        else:
            pieces.append(checkpoint(_head_logprobs, model, rows, *terms, use_reentrant=False))
        first = last
    return torch.cat(pieces)[torch.argsort(order)]


def row_logprobs(model: PreTrainedModel, paths: Sequence[TokenPath], temperature: float = 1.0) -> Tensor:
    """The same log-probabilities from separate rows through the model's own forward, shape (M,), float32."""
    selects = "logits_to_keep" in inspect.signature(model.forward).parameters
    out: list[Tensor] = []
    for path in paths:
        ids = torch.tensor([list(path.ids)], device=model.device)
        trained = torch.tensor(list(path.trained), device=model.device, dtype=torch.long)
        if selects:
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=trained - 1).logits[0]
        else:
            logits = model(input_ids=ids, use_cache=False).logits[0, trained - 1]
        scores = torch.log_softmax(logits.float() / temperature, -1)
        out.append(scores.gather(1, ids[0, trained][:, None])[:, 0])
    return torch.cat(out)


def body(model: PreTrainedModel) -> nn.Module:
    """The decoder without its output head."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    assert isinstance(decoder, nn.Module)
    return decoder


def _head_logprobs(model: PreTrainedModel, hidden: Tensor, rows: Tensor, targets: Tensor, temperature: float) -> Tensor:
    logits = logits_of(model, hidden) / temperature
    return logits[rows, targets] - torch.logsumexp(logits, -1)[rows]
