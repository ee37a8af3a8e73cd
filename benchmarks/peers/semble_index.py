"""semble on one corpus of ``make bench-search``, in a process of its own.

What is measured is its code as it is installed (`SembleIndex.from_path`, `search` with its defaults: its own chunks,
BM25, fusion, boosts and diversity), either with the same MiniLM weights as ours (``--model minilm``), read up to the
model's own 256 tokens in fp32, or with its own static model, where a hub's cache has it (``--model own``). It keeps its
index in memory, so that no disk is measured.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from semble import SembleIndex

from benchmarks.sides.search_peer import MODEL, Indexed, Lines, arguments, measure
from homeground.base.weights import resolve_model


class MiniLm:
    """The bundled model as semble calls an embedding model."""

    def __init__(self) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(resolve_model(MODEL)))

    def encode(self, texts: Any, /, **_: Any) -> Any:
        """Vectors of texts, float32 (texts, 384)."""
        return np.asarray(self._model.encode(list(texts), show_progress_bar=False), dtype=np.float32)


def main() -> None:
    """Measure and write."""
    parser = arguments(__doc__)
    parser.add_argument("--model", choices=("minilm", "own"), default="minilm")
    options = parser.parse_args()
    encoder = MiniLm() if options.model == "minilm" else None
    if encoder:
        encoder.encode(["warm up"])

    def peer(tree: Path, _kept: Path) -> Indexed:
        index = SembleIndex.from_path(tree, encoder) if encoder else SembleIndex.from_path(tree)
        return Indexed(
            lambda query, count: [lines_of(one.chunk) for one in index.search(query, count)], len(index.chunks)
        )

    named = MODEL if encoder else "its own model"
    measure(peer, f"semble {version('semble')} with {named}", options, model=options.model)


def lines_of(chunk: Any) -> Lines:
    """The lines that a chunk of semble's shows."""
    return Lines(Path(chunk.file_path).as_posix(), chunk.start_line, chunk.end_line)


if __name__ == "__main__":
    main()
