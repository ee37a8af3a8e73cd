"""The output head: logits that keep their precision in bf16, and log-probabilities of chosen tokens.

A bf16 product rounds a logit of 20 by up to 0.06, so two computations that differ in the last bit of a hidden state
disagree by several hundredths of a nat. Rounding is relative: with the row's largest logit subtracted *inside* the
product, before it is rounded, the logits that matter are small and keep their digits.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

_AFTERWARDS = ("logit_scale", "lm_head_multiplier", "logits_scaling", "final_logit_softcapping")
"""What some models do to their logits (Cohere, Falcon H1, Granite, Gemma 2), by the name of its setting."""


def plain_head(model: PreTrainedModel) -> Tensor | None:
    """The weight (vocabulary, hidden) of a head that is a frozen product and nothing else; None for any other head."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or cast("Tensor | None", head.bias) is not None or head.weight.requires_grad:
        return None
    if any(getattr(model.config, name, None) is not None for name in _AFTERWARDS):
        return None
    return head.weight


def logits_of(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits (.., vocabulary), float32, of final hidden states, with what the model does after its head."""
    if (weight := plain_head(model)) is not None:
        return sharp_logits(hidden, weight)
    head = model.get_output_embeddings()
    assert head is not None
    logits = head(hidden if torch.is_autocast_enabled(hidden.device.type) else hidden.to(model.dtype)).float()
    config = model.config
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (scale := getattr(config, "lm_head_multiplier", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def sharp_logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """``hidden @ weight.T`` in float32, the largest logits of each row exact to about 1e-3 in half precision.

    Args:
        hidden: (rows, hidden size), any float type.
        weight: (vocabulary, hidden size); its type is what products compute in.
    """
    hidden = hidden.to(weight.dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        if weight.dtype is torch.float32:
            return linear(hidden, weight)
        # The weight comes first: a bf16 product of few rows is faster this way round on a CPU.
        rows = hidden.flatten(0, -2).t()
        with torch.no_grad():
            top = _by_rows(weight @ rows).amax(-1)
        logits = _by_rows(torch.addmm(-top.to(weight.dtype), weight, rows)).add_(top[:, None])
        return logits.view(*hidden.shape[:-1], -1)


def _by_rows(columns: Tensor) -> Tensor:
    return columns.t().to(torch.float32, memory_format=torch.contiguous_format)


class Scratch:
    """Room for the logits of some rows, used again and again: new pages for each block cost more than its products.

    Args:
        rows: at most.
        weight: of the head (vocabulary, hidden size).
    """

    def __init__(self, rows: int, weight: Tensor) -> None:
        self._weight = weight
        self._wide = torch.empty(rows, len(weight), device=weight.device)
        self._narrow = self._wide if weight.dtype is torch.float32 else torch.empty_like(self._wide, dtype=weight.dtype)

    def logits_around(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Logits up to a number that each row may add, in float32, sharp around that of one token a row (rows,)."""
        weight, wide = self._weight, self._wide[: len(hidden)]
        narrow = self._narrow[: len(hidden)]
        if weight.dtype is torch.float32:
            return torch.mm(hidden.to(weight.dtype), weight.t(), out=wide)
        level = (hidden.float() * weight[tokens]).sum(-1, keepdim=True).to(weight.dtype)
        return wide.copy_(torch.addmm(-level, hidden.to(weight.dtype), weight.t(), out=narrow))

    def narrowed(self, wide: Tensor) -> Tensor:
        """The same in the weight's type."""
        narrow = self._narrow[: len(wide)]
        return narrow if self._narrow is self._wide else narrow.copy_(wide)


class HeadLogprobs(torch.autograd.Function):
    """Log-probabilities of chosen tokens through a plain head.

    The gradient of a row's first target in its hidden state is that target's row of the head minus the mean of all
    rows under the policy, whatever the loss is. It is made in the forward pass, while the probabilities are at hand;
    neither they nor the logits, as large as rows times vocabulary, are kept or made again. A further target of the same
    row (the first tokens of siblings) differs by two rows of the head.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, rows: Tensor, targets: Tensor, temperature: float, scratch: Scratch
    ) -> Tensor:
        """Log-probability (M,) of ``targets`` (M,) in the rows ``rows`` (M,) of ``hidden`` (n, hidden size).

        ``rows`` is ascending and names every row.
        """
        every = torch.arange(len(hidden), device=rows.device)
        first = targets[torch.searchsorted(rows, every)]
        with torch.autocast(hidden.device.type, enabled=False):
            logits = scratch.logits_around(hidden, first).div_(temperature)
            chosen = logits[rows, targets]
            top = logits.amax(-1, keepdim=True)
            total = logits.sub_(top).exp_().sum(-1, keepdim=True)
            away: Tensor | None = None
            if ctx.needs_input_grad[0]:
                share = logits.div_(total)
                share[every, first] -= 1
                away = (scratch.narrowed(share) @ weight).neg_()
        ctx.save_for_backward(away, weight, rows, targets, first)
        ctx.temperature, ctx.dtype = temperature, hidden.dtype
        return chosen - (top + total.log())[rows, 0]

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """See the class."""
        away, weight, rows, targets, first = ctx.saved_tensors
        factor = grad_out[:, None] / ctx.temperature
        grad = away.float() * torch.zeros_like(away[:, :1], dtype=torch.float32).index_add_(0, rows, factor)
        further = targets != first[rows]
        moved = weight[targets[further]].float() - weight[first[rows[further]]].float()
        grad.index_add_(0, rows[further], factor[further] * moved)
        return grad.to(ctx.dtype), None, None, None, None, None
