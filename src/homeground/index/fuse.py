"""Weighted fusion of the stages' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def fuse(
    dense: Mapping[str, float], lexical: Mapping[str, float], dense_weight: float, lexical_weight: float
) -> dict[str, float]:
    """Weighted mean of both scores, each scaled to [0, 1] over the candidates of this query.

    Args:
        dense: cosine of every candidate, by chunk id.
        lexical: BM25 score of the same candidates.
        dense_weight: weight of the first, at least 0.
        lexical_weight: weight of the second, at least 0; not both are 0.

    Returns:
        Fused score of every candidate, in [0, 1].
    """
    total = dense_weight + lexical_weight
    one, other = _scaled(dense), _scaled(lexical)
    return {key: (dense_weight * one[key] + lexical_weight * other[key]) / total for key in dense}


def blend(first: Sequence[float], second: Sequence[float], weight: float) -> list[float]:
    """Weighted mean of two lists of scores of the same hits, each scaled to [0, 1] over them.

    Args:
        first: score of each hit so far.
        second: the later stage's.
        weight: of the second, from 0 to 1.
    """
    one, other = _scaled(dict(enumerate(first))), _scaled(dict(enumerate(second)))
    return [(1 - weight) * one[at] + weight * other[at] for at in range(len(first))]


def _scaled[K](scores: Mapping[K, float]) -> dict[K, float]:
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if high <= low:
        return dict.fromkeys(scores, 0.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}
