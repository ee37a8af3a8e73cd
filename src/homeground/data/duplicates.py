"""Rows that say the same again: exactly, or nearly (MinHash, Broder 1997; LSH, Mining of Massive Datasets, chapter 3).

Locality-sensitive hashing only proposes pairs; whether two rows are near duplicates is decided by the exact Jaccard
similarity of their word shingles, so nothing is removed by chance. A pair that hashing does not propose stays (at the
threshold or above it, one in a thousand or fewer).
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from homeground.data.config import DuplicatesConfig
from homeground.tasks import shingles
from homeground.training.formats import Example

_PERMUTATIONS = 128
_MISSED = 1e-3


@dataclass(frozen=True)
class Duplicate:
    """A row that was removed, the place of the row that says the same, and how similar they are (1: the same)."""

    place: str
    of: str
    similarity: float


@dataclass
class Distinct:
    """Rows that say different things, in their order, and what was removed for it."""

    examples: list[Example] = field(default_factory=list)
    exact: list[Duplicate] = field(default_factory=list)
    near: list[Duplicate] = field(default_factory=list)


def fingerprint(example: Example) -> str:
    """Hash of what an example says; case, width and spaces do not count. The same on every machine."""
    texts = (" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in example.said())
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def distinct(examples: Sequence[Example], config: DuplicatesConfig = DuplicatesConfig()) -> Distinct:
    """The first of each group of rows that say the same.

    Args:
        examples: in the order of preference.
        config: `exact` removes rows with the :func:`fingerprint` of an earlier one, `near` those that are as similar
            to an earlier row that was kept.
    """
    found = Distinct()
    first: dict[str, Example] = {}
    for example in examples:
        known = first.setdefault(fingerprint(example), example) if config.exact else example
        if known is example:
            found.examples.append(example)
        else:
            found.exact.append(Duplicate(example.place, known.place, 1.0))
    if config.near is not None:
        found.examples, found.near = _without_near(found.examples, config.near, config.shingle)
    return found


def _without_near(examples: Sequence[Example], threshold: float, width: int) -> tuple[list[Example], list[Duplicate]]:
    from datasketch import MinHash, MinHashLSH

    @functools.lru_cache(maxsize=4096)
    def cut(at: int) -> frozenset[str]:
        return shingles("\n".join(examples[at].said()), width)

    lsh = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(threshold))
    kept: list[Example] = []
    removed: list[Duplicate] = []
    sketch = MinHash(num_perm=_PERMUTATIONS, seed=1)
    for at, example in enumerate(examples):
        mine = cut(at)
        hashed = sketch.copy()
        hashed.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in mine])
        proposed = sorted(cast("Iterable[int]", lsh.query(hashed))) if mine else []
        similar = next(((other, s) for other in proposed if (s := _jaccard(mine, cut(other))) >= threshold), None)
        if similar is None:
            kept.append(example)
            if mine:
                lsh.insert(at, hashed)
        else:
            removed.append(Duplicate(example.place, examples[similar[0]].place, round(similar[1], 3)))
    return kept, removed


def _bands(threshold: float) -> tuple[int, int]:
    """Bands, and rows in each: the fewest proposals with which hardly a pair at the threshold is missed.

    A pair of similarity s is proposed with probability 1 - (1 - s^rows)^bands.
    """
    tried = ((_PERMUTATIONS // rows, rows) for rows in range(_PERMUTATIONS // 2, 0, -1))
    return next(((b, r) for b, r in tried if (1 - threshold**r) ** b <= _MISSED), (_PERMUTATIONS, 1))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
