"""Interfaces of the models that a search uses. An index takes any object that has these methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

type Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Embeds chunks and queries into one vector space. Its methods may be called from several threads."""

    @property
    def name(self) -> str:
        """Name that is stored with the index: it can only be opened with an embedder of this name."""
        ...

    @property
    def revision(self) -> str:
        """Identifier of the weights. When it changes, every chunk is embedded again."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text; chunks are cut to at most `index.max_tokens` of them."""
        ...

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Embed the texts, batch by batch, in any order.

        Yields:
            Positions in `texts`, and the unit vectors of those texts, shape (positions, dimension).
        """
        ...

    def encode_query(self, query: str) -> Vectors:
        """Unit vector of a query, shape (dimension,)."""
        ...


class Reranker(Protocol):
    """Scores the best hits of a search again. Its method may be called from several threads."""

    @property
    def name(self) -> str:
        """Name that is stored with the index."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text to the query, shape (texts,); larger is better, any scale."""
        ...


def encode_all(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Unit vectors of all texts, shape (texts, dimension)."""
    batches = list(embedder.encode(texts))
    order = np.argsort(np.concatenate([positions for positions, _ in batches]))
    return np.concatenate([vectors for _, vectors in batches])[order]
