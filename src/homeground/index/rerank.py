"""The second phase of retrieve-then-rerank (Khattab, Zaharia 2020, arXiv 2004.12832): a cross-encoder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from homeground.base.errors import HomegroundError
from homeground.base.weights import resolve_model
from homeground.index.embed import quiet_loading

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class Reranker:
    """Scores a query against each text, both read together.

    Args:
        name: local folder or hub id of a sentence-transformers cross-encoder with one label.
        max_tokens: query and text together are cut there.
    """

    def __init__(self, name: str, max_tokens: int = 256) -> None:
        self.name = name
        self._max_tokens = max_tokens
        self._lock = threading.Lock()

    @cached_property
    def _model(self) -> CrossEncoder:
        from sentence_transformers import CrossEncoder

        folder = resolve_model(self.name)
        quiet_loading()
        try:
            model = CrossEncoder(str(folder), max_length=self._max_tokens, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise HomegroundError(
                f"the reranker '{self.name}' cannot be loaded: {error}",
                where=str(folder),
                hint="give a cross-encoder, or set index.rerank to null",
            ) from error
        if model.num_labels != 1:
            raise HomegroundError(
                f"the reranker '{self.name}' gives {model.num_labels} scores for a pair, not one",
                where=str(folder),
                hint="give a cross-encoder trained to rank, or set index.rerank to null",
            )
        return model

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text to the query; larger is better, no fixed scale."""
        with self._lock:
            scores = self._model.predict([(query, text) for text in texts], show_progress_bar=False)
        return [float(score) for score in scores]
