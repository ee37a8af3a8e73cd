"""Other tools' ways to rank, as functions of the two rankings that ours fuses: design beside design, no peer's figure.

Read in their public sources (commit named), written anew:

- osgrep: reciprocal rank fusion, k = 60, of vectors and full text, then paths of tests at half and Markdown and JSON at
  0.6 of their score, then at most three hits a file (Ryandonofrio3/osgrep 30ffe4d, src/lib/search/searcher.ts; its
  ColBERT stage needs weights).
- semble: both scores scaled to [0, 1], half and half; a hit gains by the share of the query's words in its file's or
  folder's name, and the best hit of a file by the sum of its file's scores (MinishLab/semble 0d7e158,
  src/semble/ranking/boosting.py, and 0058cd9, src/semble/search.py; its own embedding model needs weights).
- plain reciprocal rank fusion, k = 60 (Cormack, Clarke, Büttcher 2009): what many hybrid searches do.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from homeground.index import Hit
from homeground.index.fuse import fuse

_RRF_K = 60
_TEST = re.compile(r"(^|/)(__tests__|tests?|specs?|benchmark)(/|$)")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_STOP = frozenset(
    "a an and are as at be by do does for from has have how if in is it not of on or the to was with".split()
)

type Ranking = Sequence[Hit]


def rrf(query: str, dense: Ranking, lexical: Ranking) -> list[Hit]:
    """Plain reciprocal rank fusion."""
    return _ordered(_reciprocal(dense, lexical), dense, lexical)


def osgrep(query: str, dense: Ranking, lexical: Ranking) -> list[Hit]:
    """Reciprocal rank fusion, structural factors, at most three hits a file."""
    scores = _reciprocal(dense, lexical)
    for path, key in {(hit.path.lower(), hit.id) for hit in (*dense, *lexical)}:
        scores[key] *= (0.5 if _TEST.search(path) else 1.0) * (0.6 if path.endswith((".md", ".json", ".lock")) else 1.0)
    files: Counter[str] = Counter()
    kept: list[Hit] = []
    for hit in _ordered(scores, dense, lexical):
        files[hit.path] += 1
        if files[hit.path] <= 3:
            kept.append(hit)
    return kept


def semble(query: str, dense: Ranking, lexical: Ranking) -> list[Hit]:
    """Half and half of the scaled scores; names of files and folders count; a file's best hit gains by its others."""
    one, other = ({hit.id: hit.score for hit in ranking} for ranking in (dense, lexical))
    everything = one.keys() | other.keys()
    scores = fuse(
        {key: one.get(key, min(one.values(), default=0.0)) for key in everything},
        {key: other.get(key, min(other.values(), default=0.0)) for key in everything},
        0.5,
        0.5,
    )
    hits = {hit.id: hit for hit in (*dense, *lexical)}
    top = max(scores.values(), default=0.0)
    words = {word.lower() for word in _WORD.findall(query) if len(word) > 2} - _STOP
    for key, hit in hits.items():
        path = PurePosixPath(hit.path)
        parts = {part.lower() for name in (path.stem, path.parent.name) for part in _PART.findall(name)}
        share = sum(any(_alike(word, part) for part in parts) for word in words) / max(len(words), 1)
        if share >= 0.1:
            scores[key] += top * share
    sums: defaultdict[str, float] = defaultdict(float)
    best: dict[str, str] = {}
    for key in sorted(scores, key=lambda key: scores[key]):
        sums[hits[key].path] += scores[key]
        best[hits[key].path] = key
    most, unit = max(sums.values(), default=1.0), 0.2 * max(scores.values(), default=0.0)
    for path, key in best.items():
        scores[key] += unit * sums[path] / most
    return _ordered(scores, dense, lexical)


DESIGNS: dict[str, Callable[[str, Ranking, Ranking], list[Hit]]] = {"rrf 60": rrf, "osgrep": osgrep, "semble": semble}


def _reciprocal(*rankings: Ranking) -> dict[str, float]:
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (_RRF_K + rank)
    return scores


def _ordered(scores: dict[str, float], *rankings: Ranking) -> list[Hit]:
    """One hit a symbol, best first."""
    hits = {hit.id: hit for ranking in rankings for hit in ranking}
    seen: set[tuple[str, str]] = set()
    found: list[Hit] = []
    for key in sorted(scores, key=lambda key: -scores[key]):
        name = (hits[key].path, hits[key].symbol or f":{hits[key].start}")
        if name not in seen:
            seen.add(name)
            found.append(hits[key])
    return found


def _alike(word: str, part: str) -> bool:
    shorter, longer = sorted((word, part), key=len)
    return word == part or (len(shorter) >= 3 and longer.startswith(shorter))
