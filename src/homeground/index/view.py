"""The searchable view of a manifest: a Chroma collection (cosine) and a BM25 index, in one folder.

A view is written once, under a name of its own, and never changed afterwards: a reader keeps its view while a writer
makes the next. When little has changed, the next one starts as a copy of the last.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from homeground.base.files import atomic_write_json, read_json
from homeground.base.progress import Bar
from homeground.index.lexical import Lexicon
from homeground.index.manifest import Manifest

_ROWS_A_WRITE = 5000  # Chroma takes at most 5461
_REBUILD_SHARE = 0.2
_COLLECTION = "chunks"
_HNSW = {"space": "cosine", "ef_construction": 100, "ef_search": 200, "batch_size": 5000, "sync_threshold": 50000}


class View:
    """An open view.

    Args:
        folder: a folder that `View.write` finished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._client = _client(folder)
        self._collection = self._client.get_collection(_COLLECTION, embedding_function=None)
        self.ids: list[str] = read_json(folder / "ids.json")
        self.row = {key: row for row, key in enumerate(self.ids)}
        self._lexicon = Lexicon.load(folder / "bm25")

    def close(self) -> None:
        """Lets go of Chroma's files."""
        self._client.close()

    def nearest(self, vector: NDArray[np.float32], count: int) -> dict[str, float]:
        """Cosine of the `count` chunks nearest to a unit vector, by chunk id."""
        found = self._collection.query(
            query_embeddings=[vector], n_results=min(count, len(self.ids)), include=["distances"]
        )
        distances = found["distances"]
        assert distances is not None
        return {key: 1.0 - distance for key, distance in zip(found["ids"][0], distances[0], strict=True)}

    def lexical(self, query: str) -> NDArray[np.float32]:
        """BM25 score of every chunk, in the order of `ids`."""
        return self._lexicon.scores(query)

    @classmethod
    def write(cls, folder: Path, manifest: Manifest, bar: Bar, like: Path | None = None) -> Self:
        """Writes the view of everything in the manifest and opens it.

        Args:
            folder: where to; what lies there is deleted first.
            manifest: the truth.
            bar: advanced by the chunks that were put in place.
            like: the last view; copied when at most a fifth of the chunks differ.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ids = manifest.ids()
        stale, fresh = _difference(like, ids)
        if like is not None and len(fresh) + len(stale) <= _REBUILD_SHARE * len(ids):
            shutil.copytree(like / "chroma", folder / "chroma")
            client = _client(folder)
            collection = client.get_collection(_COLLECTION, embedding_function=None)
            for at in range(0, len(stale), _ROWS_A_WRITE):
                collection.delete(ids=stale[at : at + _ROWS_A_WRITE])
        else:
            fresh = ids
            client = _client(folder)
            collection = client.create_collection(_COLLECTION, configuration={"hnsw": _HNSW}, embedding_function=None)
        bar.expect(len(fresh))
        for at in range(0, len(fresh), _ROWS_A_WRITE):
            some = fresh[at : at + _ROWS_A_WRITE]
            _add(collection, manifest, some)
            bar.advance(len(some))
        client.close()
        Lexicon.build([words.split() for words in manifest.terms_of(ids)]).save(folder / "bm25")
        atomic_write_json(folder / "ids.json", ids)
        return cls(folder)


def _difference(like: Path | None, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Ids that are only in the last view, and ids that are only in the next."""
    before: list[str] = read_json(like / "ids.json") if like is not None else []
    old, new = set(before), set(ids)
    return [key for key in before if key not in new], [key for key in ids if key not in old]


def _add(collection: Any, manifest: Manifest, ids: list[str]) -> None:
    vectors = manifest.vectors_of(ids)
    facts = {chunk.id: chunk for chunk in manifest.chunks(ids)}
    collection.add(
        ids=ids,
        embeddings=np.stack([vectors[key] for key in ids]),
        metadatas=[
            {"path": c.path, "symbol": c.symbol, "kind": c.kind, "language": c.language}
            for c in (facts[key] for key in ids)
        ],
    )


def _client(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder / "chroma"), settings=Settings(anonymized_telemetry=False))
