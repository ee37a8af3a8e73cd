"""`homeground tune`: fit the fusion and train retrievers on the corpus; keep what finds more on files held out.

Questions are docstrings' first paragraphs, taken out of the index. Files are in one of three groups: retrievers learn
from the first, weights are fitted on the second (a trained model is surer of what it learned from), and everything is
judged on the third. A step is kept when the 95% interval of its gain in MRR@10 lies above zero; the next step starts
from what was kept.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.base.weights import resolve_model
from homeground.evaluate.fusion import best_weight, fit_dense_weight, fusion_cases
from homeground.evaluate.search import HEADLINE, SearchOutcome, outcomes_of, search_difference, search_metrics
from homeground.index import Index, IndexConfig, Stage
from homeground.index.fuse import blend
from homeground.index.rerank import RERANKED, reranked_text
from homeground.recipe import TuneSection
from homeground.tasks.queries import SearchTask, ranks_of
from homeground.training.retrievers import Retriever, Row, train_retriever

if TYPE_CHECKING:
    from homeground.corpus import Chunk
    from homeground.evaluate.stats import Interval
    from homeground.index import Hit

WEIGHTS = "fusion weights"
_NEAREST, _FARTHEST = 2, 32
"""Ranks between which hard negatives are drawn: the very first are often right answers that no docstring names."""
_MORE_NEGATIVES = 3
_LEAST_ROWS = 8
_QUESTION_TOKENS = 64
_RERANKED_TO_FIT = 150
_RERANK_WEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
_STAGES = frozenset({Stage.DENSE, Stage.LEXICAL, Stage.RERANK})


@dataclass(frozen=True)
class TuneTasks:
    """Questions of three groups of files: to learn from, to fit weights on, to judge by."""

    learn: list[SearchTask]
    fit: list[SearchTask]
    heldout: list[SearchTask]


@dataclass(frozen=True)
class TuneStep:
    """One attempt.

    Attributes:
        name: what was tried.
        kept: whether its gain lies beyond its interval.
        mrr: MRR@10 of the held-out questions after it.
        gain: over what was kept before, question by question.
        seconds: training and measuring took.
        settings: of the index with it.
    """

    name: str
    kept: bool
    mrr: Interval
    gain: Interval
    seconds: float
    settings: IndexConfig

    def to_json(self) -> dict[str, Any]:
        """The attempt in `tune.json`."""
        return {**asdict(self), "settings": self.settings.model_dump()}


@dataclass
class Tuner:
    """Tries one step after the other.

    Args:
        tasks: the questions; the indexes have none of their texts.
        open_index: an index of the corpus with the given settings.
        folder: where models are saved, a folder each.
        recipe: how to train.
        seed: of training and of the draw of negatives.
        resamples: of every interval.
        progress: where bars go.
        resume: take a model that already lies in the folder.
    """

    tasks: TuneTasks
    open_index: Callable[[IndexConfig], Index]
    folder: Path
    recipe: TuneSection
    seed: int
    resamples: int
    progress: Progress
    resume: bool = False
    steps: list[TuneStep] = field(default_factory=list[TuneStep])

    def run(self, settings: IndexConfig) -> IndexConfig:
        """Tries the fusion's weights and every model of the recipe; returns the settings that were kept."""
        self._base = settings.embedder
        self._current = settings.model_copy(update={"rerank": None})
        self._best = self.before = self._measured(self._current, "as it is")
        self._try(WEIGHTS, lambda: self._fitted(self._current))
        for name in self.recipe.models:
            self._try(name, partial(self._trained, Retriever(name)))
        return self._current

    def _try(self, name: str, make: Callable[[], IndexConfig]) -> None:
        began = time.perf_counter()
        settings = make()
        outcomes = self._measured(settings, name)
        how: dict[str, Any] = {"resamples": self.resamples, "seed": self.seed}
        gain = search_difference(outcomes, self._best, **how)
        mrr = search_metrics(outcomes, **how)["all"][HEADLINE]
        step = TuneStep(name, gain["low"] > 0, mrr, gain, time.perf_counter() - began, settings)
        self.steps.append(step)
        if step.kept:
            self._current, self._best = settings, outcomes

    def _trained(self, kind: Retriever) -> IndexConfig:
        folder = self.folder / kind
        if not (self.resume and folder.is_dir()):
            rows = self._rows(kind)
            bar = self.progress.bar(f"training the {kind}")

            def tell(step: int, steps: int, loss: float | None) -> None:
                bar.expect(steps)
                bar.advance(1, "" if loss is None else f"loss {loss:.3f}")

            config, max_tokens = self.recipe, self._current.max_tokens
            if kind is Retriever.CROSS_ENCODER:
                # It learns from a question's own negatives, not from the batch: smaller steps, more of them.
                config = config.model_copy(update={"batch_size": max(2, config.batch_size // 4)})
                max_tokens += _QUESTION_TOKENS
            train_retriever(
                kind,
                resolve_model(self._base),
                rows,
                folder,
                config,
                max_tokens=max_tokens,
                seed=self.seed,
                on_step=tell,
            )
            bar.done(f"{len(rows)} questions")
        if kind is Retriever.BI_ENCODER:
            return self._fitted(self._current.model_copy(update={"embedder": str(folder)}))
        return self._blended(self._current.model_copy(update={"rerank": str(folder)}))

    def _rows(self, kind: Retriever) -> list[Row]:
        """The learn questions, with negatives that the search kept so far ranks high."""
        text = _embedded if kind is Retriever.BI_ENCODER else _reranked
        count = self.recipe.negatives + (_MORE_NEGATIVES if kind is Retriever.CROSS_ENCODER else 0)
        rng = random.Random(self.seed)
        with contextlib.closing(self.open_index(self._current.model_copy(update={"rerank": None}))) as index:
            known = {chunk.id: chunk for chunk in index.chunks()}
            first = first_chunks(self.tasks.learn, known.values())
            bar = self.progress.bar("mining negatives", total=len(self.tasks.learn))
            rows: list[Row] = []
            for task in self.tasks.learn:
                scores = index.candidates(task.query)
                order = [known[key] for key in sorted(scores, key=lambda key: -scores[key][Stage.FUSED])]
                wrong = [one for one in order if not any(answer.shown_by(one) for answer in task.answers)]
                wrong = wrong[_NEAREST:_FARTHEST]
                bar.advance(1)
                if task.id in first and len(wrong) >= count:
                    rows.append(Row(task.query, text(first[task.id]), tuple(map(text, rng.sample(wrong, count)))))
            bar.done(f"for {len(rows)} questions")
        if len(rows) < _LEAST_ROWS:
            raise HomegroundError(
                f"only {len(rows)} questions to learn from, {_LEAST_ROWS} are needed",
                where="homeground tune",
                hint="index more Python files with docstrings",
            )
        return rows

    def _fitted(self, settings: IndexConfig) -> IndexConfig:
        """The settings with the weights that rank the fit questions best."""
        with contextlib.closing(self.open_index(settings.model_copy(update={"rerank": None}))) as index:
            bar = self.progress.bar("fitting the fusion", total=len(self.tasks.fit))
            cases = fusion_cases(self.tasks.fit, index.candidates, index.chunks(), bar.advance)
        weight, _ = fit_dense_weight(cases)
        bar.done(f"dense {weight:g}, lexical {1 - weight:g}")
        return settings.model_copy(update={"dense_weight": weight, "lexical_weight": round(1 - weight, 4)})

    def _blended(self, settings: IndexConfig) -> IndexConfig:
        """The settings with the weight of the reranker that ranks the fit questions best."""
        tasks = self.tasks.fit[:_RERANKED_TO_FIT]
        lists: list[tuple[list[Hit], SearchTask]] = []
        with contextlib.closing(self.open_index(settings.model_copy(update={"rerank_weight": 1.0}))) as index:
            bar = self.progress.bar("fitting the reranker's weight", total=len(tasks))
            for task in tasks:
                lists.append((index.search(task.query, RERANKED, stages=_STAGES), task))
                bar.advance(1)
        best = best_weight(
            _RERANK_WEIGHTS, lambda weight: [_reciprocal_rank(hits, weight, task) for hits, task in lists]
        )
        bar.done(f"{best:g}")
        return settings.model_copy(update={"rerank_weight": best})

    def _measured(self, settings: IndexConfig, name: str) -> list[SearchOutcome]:
        with contextlib.closing(self.open_index(settings)) as index:
            index.warm()
            bar = self.progress.bar(f"held-out questions: {name}", total=len(self.tasks.heldout))
            found = outcomes_of(self.tasks.heldout, partial(index.search, stages=_STAGES), bar.advance)
        bar.done(f"MRR@10 {sum(one.metrics()[HEADLINE] for one in found) / len(found):.3f}")
        return found


def first_chunks(tasks: Iterable[SearchTask], chunks: Iterable[Chunk]) -> dict[str, Chunk]:
    """For each task's id the first chunk of its answer: the one with the definition's own line."""
    by_path: defaultdict[str, list[Chunk]] = defaultdict(list)
    for chunk in sorted(chunks, key=lambda chunk: chunk.start):
        by_path[chunk.path].append(chunk)
    found: dict[str, Chunk] = {}
    for task in tasks:
        answer = task.answers[0]
        shown = [chunk for chunk in by_path[answer.path] if answer.shown_by(chunk)]
        # A class's own lines may lie between its methods: a chunk of the very symbol comes first.
        shown.sort(key=lambda chunk: chunk.symbol != answer.symbol)
        if shown:
            found[task.id] = shown[0]
    return found


def _reciprocal_rank(hits: Sequence[Hit], weight: float, task: SearchTask) -> float:
    """1 / rank of the answer, were the hits ordered with this weight of the reranker."""
    mixed = blend([hit.scores[Stage.FUSED] for hit in hits], [hit.scores[Stage.RERANK] for hit in hits], weight)
    order = [hits[at] for at in sorted(range(len(hits)), key=lambda at: -mixed[at])]
    return SearchOutcome(task.id, task.kind, tuple(ranks_of(order, task))).metrics()[HEADLINE]


def _embedded(chunk: Chunk) -> str:
    return chunk.indexed_text


def _reranked(chunk: Chunk) -> str:
    return reranked_text(chunk.path, chunk.symbol, chunk.text)
