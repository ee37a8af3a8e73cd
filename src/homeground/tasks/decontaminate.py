"""Near-duplicates across the split: a question that the model trained on must not come back in another wording."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_PAIR = 2


def words(text: str) -> list[str]:
    """A text's words, lower-cased; punctuation is none."""
    return _WORD.findall(text.lower())


def ngrams(items: Sequence[str], width: int) -> list[str]:
    """Runs of so many neighbouring words, each put together with spaces; none of a shorter text."""
    return [" ".join(items[at : at + width]) for at in range(len(items) - width + 1)]


def shingles(text: str, width: int = _PAIR) -> frozenset[str]:
    """Runs of so many neighbouring words; of a shorter text, the whole of it."""
    found = words(text)
    return frozenset(ngrams(found, min(width, len(found)) or 1))


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
