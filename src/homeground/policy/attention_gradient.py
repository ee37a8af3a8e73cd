"""The backward pass of partwise attention on a CPU, made of matrix products.

With S the scaled scores, L the log-sum-exp of a query's whole row and d the sum of ``grad * output`` over a head
(Dao 2023, arXiv 2307.08691, section 2.3)::

    P = exp(S - L)        grad V = P' grad        grad S = P * (grad V' - d)
    grad Q = grad S K     grad K = grad S' Q

L and d are subtracted *inside* the products, as two more columns of the left factor against columns of ones, one for
the number rounded to half precision and one for what rounding left. So what is rounded is the difference, which is
small where it matters, and the only passes over scores are an exponential and a multiplication. Scores of one key
head are a single product: the queries of the heads that share it lie side by side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 256
"""Queries of one product where keys are cut causally: the half of the square that nobody sees is not computed."""
COLUMNS = 2
"""A number in half precision, and what rounding it left."""
SCORES = 1 << 21
"""Scores of one product elsewhere, about."""


class AttentionGradient:
    """Gradients of query, key and value, added up over parts.

    Args:
        grad: of the output (1, H, N, E).
        query: (1, H, N, D).
        key, value: (1, K, N, D) and (1, K, N, E), K dividing H.
        out: the merged output, like ``grad``.
        lse: the merged log-sum-exp (1, H, N), float32.
        scale: of the scores.
    """

    def __init__(
        self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, scale: float
    ) -> None:
        # A power of two changes no digit of a query; any other scale is applied to the products.
        folded = scale if math.frexp(scale)[0] == 0.5 else 1.0
        self._scale, self._rest = scale, scale / folded
        self._groups = key.shape[1]
        self._query = self._by_key_head(query * folded if folded != 1 else query, lse / -self._rest)
        self._grad = self._by_key_head(grad, (grad * out).sum(-1, dtype=torch.float32).neg_())
        self._key, self._value = _with_ones(key[0]), _with_ones(value[0])
        self._grad_query = torch.zeros(*self._query.shape[:-1], query.shape[-1])
        self._grad_key, self._grad_value = torch.zeros(key.shape[1:]), torch.zeros(value.shape[1:])

    def add(self, queries: slice, keys: slice, *, causal: bool, hidden: Tensor | None) -> None:
        """Take in one part.

        Args:
            queries, keys: its tokens.
            causal: query i of the part sees its keys up to i.
            hidden: (queries, keys), True where a query does not see a key.
        """
        count, seen = queries.stop - queries.start, keys.stop - keys.start
        heads = self._query.shape[0] * self._query.shape[2]
        first = 0
        while first < count:
            cut = causal and first < seen
            last = min(count, first + (ROWS if cut else max(ROWS, SCORES // (heads * seen))))
            rows = slice(queries.start + first, queries.start + last)
            columns = slice(keys.start, keys.start + (min(seen, last) if cut else seen))
            corner: tuple[int, Tensor] | None = None
            if cut:
                above = torch.ones(last - first, columns.stop - keys.start - first, dtype=torch.bool).triu_(1)
                corner = first, above
            elif hidden is not None:
                corner = 0, hidden[first:last]
            self._add(rows, columns, corner)
            first = last

    def _add(self, rows: slice, columns: slice, hidden: tuple[int, Tensor] | None) -> None:
        """One product's worth; ``hidden`` says which of the keys from some column on are not seen (queries, keys)."""
        groups, _, shared, _ = self._query.shape
        count, seen = rows.stop - rows.start, columns.stop - columns.start
        query = self._query[:, rows].reshape(groups, count * shared, -1)
        grad = self._grad[:, rows].reshape(groups, count * shared, -1)
        key, value = self._key[:, columns], self._value[:, columns]
        weights = torch.bmm(query, key.transpose(1, 2))
        if self._rest != 1:
            weights *= self._rest
        weights.exp_()
        if hidden is not None:
            start, mask = hidden
            weights.view(groups, count, shared, seen)[..., start:].masked_fill_(mask[None, :, None], 0)
        self._grad_value[:, columns] += torch.bmm(weights.transpose(1, 2), grad[..., :-COLUMNS])
        weights *= torch.bmm(grad, value.transpose(1, 2))
        found = torch.bmm(weights, key[..., :-COLUMNS])
        self._grad_query[:, rows] += found.view(groups, count, shared, -1)
        self._grad_key[:, columns] += torch.bmm(weights.transpose(1, 2), query[..., :-COLUMNS])

    def result(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query (1, H, N, D), key and value; a token's heads lie side by side, as products gave them."""
        query = self._grad_query.mul_(self._scale).to(dtype).transpose(0, 1).flatten(1, 2)
        key, value = self._grad_key.mul_(self._rest).to(dtype), self._grad_value.to(dtype)
        return query.transpose(0, 1)[None], key[None], value[None]

    def _by_key_head(self, x: Tensor, number: Tensor) -> Tensor:
        """``x`` (1, H, N, D) with a number for each of its rows (1, H, N) beside it: (K, N, H / K, D + COLUMNS)."""
        heads, tokens, size = x.shape[1:]
        out = x.new_empty(self._groups, tokens, heads // self._groups, size + COLUMNS)
        number = number[0].unflatten(0, (self._groups, -1)).transpose(1, 2)
        out[..., :size] = x[0].unflatten(0, (self._groups, -1)).transpose(1, 2)
        out[..., size] = number
        out[..., size + 1] = number - out[..., size]
        return out


def _with_ones(x: Tensor) -> Tensor:
    """(K, N, D) with ones beside it: (K, N, D + COLUMNS)."""
    return torch.cat([x, x.new_ones(*x.shape[:-1], COLUMNS)], -1)
