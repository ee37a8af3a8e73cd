"""Near-duplicates across the split: a question that the model trained on must not come back in another wording."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_SHINGLE = 2


def shingles(text: str) -> frozenset[str]:
    """Pairs of neighbouring words, lower-cased; the single word of a text that has only one."""
    words = _WORD.findall(text.lower())
    if len(words) < _SHINGLE:
        return frozenset(words)
    return frozenset(" ".join(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1))


def near_duplicates(texts: Sequence[str], others: Sequence[str], threshold: float) -> list[int]:
    """Positions of the texts that nearly repeat one of the others.

    Exact Jaccard similarity of the shingle sets, at least `threshold`; only pairs that share a shingle are compared.
    """
    holders: defaultdict[str, list[int]] = defaultdict(list)
    known = [shingles(other) for other in others]
    for position, one in enumerate(known):
        for shingle in one:
            holders[shingle].append(position)
    found: list[int] = []
    for position, text in enumerate(texts):
        mine = shingles(text)
        shared: defaultdict[int, int] = defaultdict(int)
        for shingle in mine:
            for other in holders.get(shingle, ()):
                shared[other] += 1
        if any(common >= threshold * (len(mine) + len(known[other]) - common) for other, common in shared.items()):
            found.append(position)
    return found
