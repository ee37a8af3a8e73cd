"""BM25 (Robertson et al.; Lucene's variant, through bm25s) over code-aware terms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")
_LEAST_STEM = 3
_ENDINGS = (
    ("ies", "y"), ("sses", "ss"), ("ing", ""), ("ers", ""), ("er", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", ""),
)  # fmt: skip


def terms(text: str) -> list[str]:
    """Terms of code or prose: identifiers split at case and underscore, lower-cased, lightly stemmed.

    `HTTPResponse.read_chunked` gives http, respons, read, chunk and, so that a full name still counts, the joined
    `httpresponse` and `readchunked`.
    """
    found: list[str] = []
    for word in _WORD.findall(text):
        parts = _PART.findall(word)
        found.extend(stem(part.lower()) for part in parts)
        if len(parts) > 1:
            found.append(word.replace("_", "").lower())
    return found


def stem(word: str) -> str:
    """Cuts a common English ending where at least three letters stay; both sides of a search do the same."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            if ending == "s" and word.endswith(("ss", "us", "is")):
                return word
            word = word[: len(word) - len(ending)] + instead
            break
    if len(word) > _LEAST_STEM and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word


class Lexicon:
    """BM25 scores of all chunks for a query; rows are positions in the view's list of chunk ids."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def build(cls, documents: Sequence[Sequence[str]]) -> Self:
        """Indexes the terms of each document, at least one document."""
        import bm25s

        model = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        model.index([list(document) for document in documents], show_progress=False)
        return cls(model)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        import bm25s

        return cls(bm25s.BM25.load(str(folder), load_corpus=False, mmap=False))

    def save(self, folder: Path) -> None:
        """Writes the index below `folder`."""
        self._model.save(str(folder), show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 score of every document, shape (documents,); all zero when no term of the query occurs."""
        ids = self._model.get_tokens_ids(terms(query))
        if not ids:
            return np.zeros(int(self._model.scores["num_docs"]), dtype=np.float32)
        return np.asarray(self._model.get_scores_from_ids(ids), dtype=np.float32)
