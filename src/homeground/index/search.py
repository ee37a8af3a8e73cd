"""The query side: dense and BM25 scores, fused, reranked, exact names lifted, one hit a symbol.

Filters restrict the rows before any stage ranks, and more candidates are taken when they hold fewer than k symbols, so
k hits come back whenever they exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from homeground.base.record import UNLESS_EMPTY, Record
from homeground.corpus import Chunk, nfc, own_name, spellings
from homeground.index.filters import Filters, rows_of
from homeground.index.fuse import blend, fuse
from homeground.index.hit import Hit, Stage
from homeground.index.rerank import RERANKED, reranked_text

if TYPE_CHECKING:
    from homeground.index.config import IndexConfig
    from homeground.index.manifest import Manifest
    from homeground.index.protocols import Embedder, Reranker
    from homeground.index.symbols import Symbols
    from homeground.index.view import View

CANDIDATES = 100
_EXACT, _TAIL, _FOLDED = 1.0, 0.9, 0.5

DEFAULT_STAGES = frozenset({Stage.DENSE, Stage.LEXICAL, Stage.RERANK, Stage.SYMBOL})


@dataclass
class Explanation(Record):
    """Stages of a search and the hits that each gave.

    Attributes:
        weights: weights of the fused stages.
        seconds: time of each stage that ran, to a tenth of a millisecond.
        candidates: chunks that were scored before symbols were merged.
        searched: chunks that passed the filters.
    """

    weights: dict[str, float] = field(default_factory=dict[str, float])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    candidates: int = 0
    searched: int = 0

    @contextmanager
    def timed(self, stage: Stage) -> Generator[None]:
        """Adds the time of what it wraps to the stage."""
        began = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - began, 4)


@dataclass(frozen=True)
class Found(Record):
    """The result of a search.

    Attributes:
        query: as it was asked.
        hits: best first.
        explain: how they were found, where that was asked.
        warnings: about filters without effect.
    """

    query: str
    hits: list[Hit]
    explain: Annotated[Explanation | None, UNLESS_EMPTY] = None
    warnings: Annotated[list[str], UNLESS_EMPTY] = field(default_factory=list[str])


@dataclass(frozen=True)
class Searcher:
    """What a search needs of an index. Safe to use from several threads."""

    manifest: Manifest
    view: View
    embedder: Embedder
    reranker: Reranker | None
    config: IndexConfig
    symbols: Callable[[], Symbols]

    def search(self, query: str, k: int, filters: Filters, stages: Iterable[Stage] | None) -> Found:
        """The k best hits, best first, one for each symbol, and how they were found.

        Raises:
            UsageError: no chunk passes the filters.
        """
        wanted = frozenset(stages) if stages is not None else DEFAULT_STAGES
        asked, query = query, nfc(query)
        done = Explanation()
        if not query.strip() or k < 1:
            return Found(asked, [], done)
        rows = None
        warnings: list[str] = []
        if filters:
            allowed, warnings = filters.allowed(self.manifest)
            rows = rows_of(allowed, self.view.row)
        done.searched = len(self.view.ids) if rows is None else len(rows)
        pool = self.candidates(query, rows=rows, stages=wanted, done=done)
        done.candidates = len(pool)
        hits = self._one_a_symbol(pool)
        if len(hits) < k and len(pool) < done.searched:
            hits += self._behind(hits, self.candidates(query, 4 * k, rows=rows, stages=wanted, done=done))
        if Stage.RERANK in wanted and self.reranker is not None:
            with done.timed(Stage.RERANK):
                hits = self._rerank(self.reranker, query, hits)
        if Stage.SYMBOL in wanted and self.config.exact_names:
            with done.timed(Stage.SYMBOL):
                hits = self._lift(query, hits, rows)
        return Found(asked, hits[:k], done, warnings)

    def candidates(
        self,
        query: str,
        count: int = CANDIDATES,
        *,
        rows: NDArray[np.int64] | None = None,
        stages: frozenset[Stage] = DEFAULT_STAGES,
        done: Explanation | None = None,
    ) -> dict[str, dict[str, float]]:
        """Scores by stage of the best `count` of each stage, by chunk id; the fused score is among them.

        Fusion scales over the candidates, so its scores, and with them the ranking, depend on `count`.

        Args:
            query: not blank.
            count: how many each of DENSE and LEXICAL puts forward.
            rows: rows of the view to choose from; all if None.
            stages: DENSE and LEXICAL are looked at.
            done: gets times and weights.
        """
        done = done or Explanation()
        view = self.view
        vector = None
        dense: dict[str, float] = {}
        lexical: dict[str, float] = {}
        count = min(count, len(view.ids) if rows is None else len(rows))
        if Stage.DENSE in stages:
            with done.timed(Stage.DENSE):
                vector = self.embedder.encode_query(query)
                dense = view.nearest(vector, count, rows)
        if Stage.LEXICAL in stages:
            with done.timed(Stage.LEXICAL):
                scores = view.lexical(query)
                lexical = {view.ids[row]: float(scores[row]) for row in _top(scores, count, rows)}
                lexical |= {key: float(scores[view.row[key]]) for key in dense}
        if vector is None:
            return {key: {Stage.LEXICAL: score} for key, score in lexical.items()}
        if Stage.LEXICAL not in stages:
            return {key: {Stage.DENSE: score} for key, score in dense.items()}
        if missing := [key for key in lexical if key not in dense]:
            with done.timed(Stage.DENSE):
                cosines = view.cosines(np.array([view.row[key] for key in missing]), vector)
                dense |= {key: float(cosine) for key, cosine in zip(missing, cosines, strict=True)}
        weights = self.config.dense_weight, self.config.lexical_weight
        done.weights |= {Stage.DENSE: weights[0], Stage.LEXICAL: weights[1]}
        with done.timed(Stage.FUSED):
            fused = fuse(dense, lexical, *weights)
        return {key: {Stage.DENSE: dense[key], Stage.LEXICAL: lexical[key], Stage.FUSED: fused[key]} for key in fused}

    def _behind(self, hits: list[Hit], pool: Mapping[str, Mapping[str, float]]) -> list[Hit]:
        """Hits of a larger pool for symbols that are not among the hits.

        The hits stay as they are: a search for more begins with the same ones. What fusion gave in the larger pool is
        scaled to lie below their last.
        """
        known = {_place(hit) for hit in hits}
        more = [hit for hit in self._one_a_symbol(pool) if _place(hit) not in known]
        last = hits[-1].score if hits else 1.0
        return [
            replace(hit, score=hit.score * last, scores={**hit.scores, Stage.FUSED: hit.score * last})
            if Stage.FUSED in hit.scores
            else hit
            for hit in more
        ]

    def _one_a_symbol(self, candidates: Mapping[str, Mapping[str, float]]) -> list[Hit]:
        chunks = {chunk.id: chunk for chunk in self.manifest.chunks(list(candidates))}
        final = {key: list(scores.values())[-1] for key, scores in candidates.items()}
        hits: list[Hit] = []
        seen: set[tuple[str, str | int]] = set()
        for key in sorted(chunks, key=lambda key: (-final[key], chunks[key].path, chunks[key].start)):
            chunk = chunks[key]
            if _place(chunk) in seen:
                continue
            seen.add(_place(chunk))
            hits.append(_hit(chunk, final[key], candidates[key]))
        return hits

    def _rerank(self, reranker: Reranker, query: str, hits: list[Hit]) -> list[Hit]:
        """The best hits by the weighted mean of both scores; those behind them keep their places and their scores."""
        head, tail = hits[:RERANKED], hits[RERANKED:]
        scores = reranker.score(query, [nfc(reranked_text(hit.path, hit.symbol, hit.text)) for hit in head])
        mixed = blend([hit.score for hit in head], scores, self.config.rerank_weight)
        scored = [
            replace(hit, score=both, scores={**hit.scores, Stage.RERANK: score})
            for hit, both, score in zip(head, mixed, scores, strict=True)
        ]
        return [*sorted(scored, key=lambda hit: -hit.score), *tail]

    def _lift(self, query: str, hits: list[Hit], rows: NDArray[np.int64] | None) -> list[Hit]:
        """Definitions of the name that the whole query is come first, from their first line."""
        allowed = None if rows is None else {self.view.ids[row] for row in rows}
        for name in spellings(query):
            named = [(one, like) for one, like in self._named(name) if allowed is None or one.id in allowed]
            if named:
                break
        else:
            return hits
        known = {_place(hit): hit for hit in hits}
        best = max((hit.score for hit in hits), default=0.0)
        lifted: dict[tuple[str, str | int], Hit] = {}
        for chunk, likeness in named:  # in the order of lines: the first chunk of a symbol holds its definition
            key = _place(chunk)
            if key not in lifted or lifted[key].score < best + likeness:
                scores = {**(known[key].scores if key in known else {}), Stage.SYMBOL: likeness}
                lifted[key] = _hit(chunk, best + likeness, scores)
        order = {key: place for place, key in enumerate(known)}
        first = sorted(lifted.items(), key=lambda item: (-item[1].score, order.get(item[0], len(order))))
        return [hit for _, hit in first] + [hit for key, hit in known.items() if key not in lifted]

    def _named(self, name: str) -> Iterator[tuple[Chunk, float]]:
        """Chunks of the definitions of a name, and how like it they are; a member's is that which holds its line."""
        for chunk in self.manifest.named(name):
            yield chunk, _likeness(name, chunk.symbol)
        for one in self.symbols().named(own_name(name)):
            if one.kind == "member" and f".{one.symbol}".casefold().endswith(f".{name}".casefold()):
                for chunk in self.manifest.at_line(one.path, one.line):
                    yield chunk, _likeness(name, one.symbol)


def _place(one: Hit | Chunk) -> tuple[str, str | int]:
    """Key by which hits are told apart: one a symbol."""
    return one.path, one.symbol or one.start


def _likeness(name: str, symbol: str) -> float:
    if symbol == name:
        return _EXACT
    return _TAIL if symbol.endswith(f".{name}") else _FOLDED


def _top(scores: NDArray[np.float32], count: int, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Rows of the `count` best positive scores, in no order."""
    of = scores if rows is None else scores[rows]
    top = np.argpartition(-of, min(count, len(of)) - 1)[:count]
    top = top[of[top] > 0]
    return top if rows is None else rows[top]


def _hit(chunk: Chunk, score: float, scores: Mapping[str, float]) -> Hit:
    return Hit(
        path=chunk.path,
        start=chunk.start,
        end=chunk.end,
        symbol=chunk.symbol,
        kind=chunk.kind,
        language=chunk.language,
        score=score,
        scores={str(stage): value for stage, value in scores.items()},
        text=chunk.text,
        id=chunk.id,
    )
