"""The second phase of retrieve-then-rerank: a cross-encoder, or late interaction.

Late interaction: Khattab, Zaharia 2020, arXiv 2004.12832.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.files import read_json
from homeground.base.model_files import loading, refuse_not_finite, weight_files
from homeground.base.weights import resolve_model
from homeground.index.encoders import quiet_loading

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder

_CONFIG = "config_sentence_transformers.json"
_LATE_INTERACTION = "MultiVectorEncoder"


RERANKED = 30
"""Hits that are read again."""


def reranked_text(path: str, symbol: str, text: str) -> str:
    """What a reranker reads of a hit."""
    return f"{path} {symbol}\n{text}"


class SentenceReranker:
    """Scores a query against each text: read together by a cross-encoder, or token beside token by late interaction.

    Args:
        name: local folder or hub id of a sentence-transformers cross-encoder with one label, or multi-vector encoder.
        max_tokens: longer texts are cut there; for a cross-encoder query and text together.
    """

    def __init__(self, name: str, max_tokens: int = 256) -> None:
        self.name = name
        self._max_tokens = max_tokens
        self._lock = threading.Lock()

    @cached_property
    def _folder(self) -> Path:
        return resolve_model(self.name)

    @cached_property
    def _late(self) -> bool:
        """Whether the model is one of late interaction, as its own configuration says."""
        config = self._folder / _CONFIG
        return config.is_file() and read_json(config).get("model_type") == _LATE_INTERACTION

    @cached_property
    def _model(self) -> CrossEncoder | MultiVectorEncoder:
        from sentence_transformers import CrossEncoder, MultiVectorEncoder

        quiet_loading()
        how: dict[str, Any] = {"trust_remote_code": False, "model_kwargs": {"dtype": _dtype()}}
        refuse_not_finite(weight_files(self._folder))
        hint = "give a cross-encoder or a multi-vector encoder, or set index.rerank to null"
        with loading(f"the reranker '{self.name}'", self._folder, hint):
            if self._late:
                encoder = MultiVectorEncoder(str(self._folder), **how)
                encoder.max_seq_length = min(self._max_tokens, encoder.max_seq_length or self._max_tokens)
                return encoder.eval()
            model = CrossEncoder(str(self._folder), max_length=self._max_tokens, **how)
        if model.num_labels != 1:
            raise HomegroundError(
                f"the reranker '{self.name}' gives {model.num_labels} scores for a pair, not one",
                where=str(self._folder),
                hint="give a cross-encoder trained to rank, or set index.rerank to null",
            )
        return model

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text to the query; larger is better, no fixed scale."""
        with self._lock:
            if self._late:
                scores = self._maxsim(query, texts)
            else:
                model: Any = self._model
                scores = model.predict([(query, text) for text in texts], show_progress_bar=False)
        return [float(score) for score in scores]

    def _maxsim(self, query: str, texts: Sequence[str]) -> Any:
        """For each text the sum over the query's tokens of the best match among the text's tokens."""
        model: Any = self._model
        asked = model.encode_query([query], show_progress_bar=False)
        return model.similarity(asked, model.encode_document(list(texts), show_progress_bar=False))[0]


def _dtype() -> Any:
    """bf16 where the processor multiplies in it, as the embedder does."""
    import torch

    from homeground.base.hardware import bf16_is_fast

    return torch.bfloat16 if bf16_is_fast() else torch.float32
