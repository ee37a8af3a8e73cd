"""The searchable view of a manifest: a Chroma collection (cosine) and a BM25 index, in one folder.

A view is written once, under a name of its own, and never changed afterwards: a reader keeps its view while a writer
makes the next. When little has changed, the next one starts as a copy of the last.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cached_property
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
        self.ids: list[str] = read_json(folder / "ids.json")
        self.row = {key: row for row, key in enumerate(self.ids)}
        self._lexicon = Lexicon.load(folder / "bm25")

    @cached_property
    def _client(self) -> Any:
        return _client(self.folder)

    @cached_property
    def _collection(self) -> Any:
        return self._client.get_collection(_COLLECTION, embedding_function=None)

    def close(self) -> None:
        """Lets go of Chroma's files, where they were opened."""
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Unit vectors of all chunks, shape (chunks, dimension), in the order of `ids`."""
        return np.load(self.folder / "vectors.npy").astype(np.float32)

    def nearest(
        self, vector: NDArray[np.float32], count: int, rows: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        """Cosine of the `count` chunks (of those rows only, if given) nearest to a unit vector, by chunk id."""
        numbers = np.arange(len(self.ids)) if rows is None else rows
        cosines = self.cosines(numbers, vector)
        top = np.argpartition(-cosines, min(count, len(cosines)) - 1)[:count]
        return {self.ids[numbers[at]]: float(cosines[at]) for at in top}

    def cosines(self, rows: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of a unit vector with each of the rows."""
        return self.vectors[rows] @ vector

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
        vectors = manifest.vectors_of(ids)
        np.save(folder / "vectors.npy", np.stack([vectors[key].astype(np.float16) for key in ids]))
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
