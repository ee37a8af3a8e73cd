"""Log-probabilities of trained tokens under a causal language model.

:func:`forest_logprobs` is the only scorer that training uses; :func:`row_logprobs` is its plain reference
(one padless row at a time through the model's own forward) and what a model that cannot run a forest falls
back to. The output head runs only on the hidden states that some term needs, each once, in chunks that are
recomputed in the backward pass, so that N x vocabulary logits never exist together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from homeground.policy.attention import ForestLayout
from homeground.policy.forest import TokenForest, TokenPath

HEAD_CHUNK = 512


def forest_logprobs(model: PreTrainedModel, forest: TokenForest, temperature: float = 1.0) -> Tensor:
    """Log-probability of every term of a forest.

    Args:
        model: a causal language model loaded with ``attn_implementation="homeground_forest"``.
        forest: the batch, on the model's device.
        temperature: logits are divided by it, exactly as the sampler did (> 0).

    Returns:
        Natural-log probabilities, shape (M,), float32, in the forest's term order.
    """
    hidden = body(model)(
        input_ids=forest.ids[None],
        position_ids=forest.positions[None],
        use_cache=False,
        forest=ForestLayout(forest),
    ).last_hidden_state[0]
    nodes, which = torch.unique(forest.source, return_inverse=True)
    # Sorting terms by node lets each chunk of hidden states meet all of its targets.
    order = torch.argsort(which, stable=True)
    counts = torch.bincount(which, minlength=len(nodes))
    pieces: list[Tensor] = []
    first = 0
    for start in range(0, len(nodes), HEAD_CHUNK):
        rows = nodes[start : start + HEAD_CHUNK]
        last = first + int(counts[start : start + HEAD_CHUNK].sum())
        chosen = order[first:last]
        pieces.append(
            checkpoint(
                _head_logprobs,
                model,
                hidden[rows],
                which[chosen] - start,
                forest.target[chosen],
                temperature,
                use_reentrant=False,
            )
        )
        first = last
    return torch.cat(pieces)[torch.argsort(order)]


def row_logprobs(model: PreTrainedModel, paths: Sequence[TokenPath], temperature: float = 1.0) -> Tensor:
    """The same log-probabilities from separate rows through the model's own forward, shape (M,), float32."""
    out: list[Tensor] = []
    for path in paths:
        ids = torch.tensor([list(path.ids)], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0].float() / temperature
        trained = torch.tensor(list(path.trained), device=model.device, dtype=torch.long)
        scores = torch.log_softmax(logits[trained - 1], -1)
        out.append(scores.gather(1, ids[0, trained][:, None])[:, 0])
    return torch.cat(out)


def body(model: PreTrainedModel) -> nn.Module:
    """The decoder without its output head."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    assert isinstance(decoder, nn.Module)
    return decoder


def logits_of(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits from final hidden states, with what the model does after its head (Cohere, Granite, Gemma 2)."""
    head = model.get_output_embeddings()
    assert head is not None
    logits = head(hidden).float()
    config = model.config
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def _head_logprobs(model: PreTrainedModel, hidden: Tensor, rows: Tensor, targets: Tensor, temperature: float) -> Tensor:
    logits = logits_of(model, hidden) / temperature
    return logits[rows, targets] - torch.logsumexp(logits, -1)[rows]
