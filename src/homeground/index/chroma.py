"""Chroma as a view of the manifest: embedded in the index's folder, or a collection on a server that people share.

It need not hold everything at once. What it holds is written down beside it as rows (chunk and content); whoever
searches leaves out what is gone and multiplies the few vectors that are not there yet. So a changed file costs Chroma
nothing. Only when a twentieth of the rows differ it is brought up to date: on a server in place; embedded as a copy
that replaces the last, because embedded it is not safe for two processes, and a reader may have the last one open.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_text
from homeground.base.progress import Progress
from homeground.index.config import ChromaConfig
from homeground.index.manifest import Manifest, Row, writable

_ROWS_A_WRITE = 5000  # Chroma takes at most 5461
_ROWS_A_DELETE = 2000
_STALE_SHARE = 0.05
_REBUILD_SHARE = 0.2
_LEAST_STALE = 500
_HNSW = {"space": "cosine", "ef_construction": 100, "ef_search": 200, "batch_size": 5000, "sync_threshold": 50000}
_HELD = "held.json"


class DamagedError(HomegroundError):
    """The files of an embedded collection cannot be read; they have been marked as not finished."""


@dataclass(frozen=True)
class Place:
    """Where a collection lies: a folder, or a server's collection and the folder that remembers what is in it."""

    folder: Path
    collection: str
    config: ChromaConfig

    def client(self) -> Any:
        """An open client.

        Raises:
            HomegroundError: the server cannot be reached, or it is no Chroma server.
        """
        import chromadb
        from chromadb.config import Settings

        private = Settings(anonymized_telemetry=False)
        chosen = self.config
        if chosen.mode == "embedded":
            return chromadb.PersistentClient(str(self.folder / "chroma"), settings=private)
        try:
            return chromadb.HttpClient(host=chosen.host, port=chosen.port, ssl=chosen.ssl, settings=private)
        except Exception as error:  # chromadb raises a bare ValueError, httpx's errors and its own
            raise _away(chosen, error) from None


class ChromaView:
    """An open collection; its files or its connection are opened by the first question."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._client: Any = None
        self._collection: Any = None

    @cached_property
    def rows(self) -> frozenset[Row]:
        """What the collection holds, and perhaps more: a chunk that is gone may still be in it."""
        return frozenset(held(self._place.folder))

    @property
    def collection(self) -> Any:
        """Chroma's own object."""
        with self._lock:
            if self._collection is None:
                self._client = self._place.client()
                self._collection = _existing(self._client, self._place)
            return self._collection

    def nearest(self, vector: NDArray[np.float32], count: int) -> dict[str, float]:
        """Cosine of the chunks nearest to a unit vector, by chunk id; some of them may be gone.

        Raises:
            HomegroundError: the server is away, or the collection is not there.
            DamagedError: the embedded files cannot be read.
        """
        try:
            found = self.collection.query(query_embeddings=[vector], n_results=count, include=["distances"])
        except HomegroundError:
            raise
        except Exception as error:
            raise _unanswered(self._place, error) from error
        distances = found["distances"]
        assert distances is not None
        return {key: 1.0 - distance for key, distance in zip(found["ids"][0], distances[0], strict=True)}

    def close(self) -> None:
        """Lets go of Chroma's files or its connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = self._collection = None


def held(folder: Path) -> list[Row]:
    """The rows that a finished collection was written with; none where none was finished."""
    try:
        return list(map(Row._make, json.loads((folder / _HELD).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return []


def stale(before: Iterable[Row], rows: Sequence[Row]) -> bool:
    """Whether enough differs that searching around it costs more than writing it."""
    old, new = set(before), set(rows)
    return not old or len(old ^ new) > max(_STALE_SHARE * len(new), _LEAST_STALE)


def write(place: Place, manifest: Manifest, rows: Sequence[Row], progress: Progress, last: Path | None = None) -> None:
    """Brings the collection up to the rows of the manifest.

    Args:
        place: the collection; an embedded one is made in a folder that is not there yet.
        manifest: the truth.
        rows: all of them.
        progress: where the bar goes.
        last: folder of the last embedded collection, to start from.

    Raises:
        HomegroundError: the server is away.
    """
    bar = progress.bar("writing Chroma")
    known = place.folder if _on_server(place) else last
    before = held(known) if known is not None else []
    old, new = set(before), set(rows)
    if _on_server(place):
        client = place.client()
        collection = _made(client, place)
    else:
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(parents=True)
        if last is not None and before and len(old ^ new) <= _REBUILD_SHARE * len(new):
            shutil.copytree(last / "chroma", place.folder / "chroma")
        else:
            old = set[Row]()
        client = place.client()
        collection = _made(client, place)
    fresh = [row for row in rows if row not in old]
    ids = {row.id for row in rows}
    gone = [row.id for row in before if row in old and row.id not in ids]
    bar.expect(len(fresh))
    try:
        for at in range(0, len(gone), _ROWS_A_DELETE):
            collection.delete(ids=gone[at : at + _ROWS_A_DELETE])
        for at in range(0, len(fresh), _ROWS_A_WRITE):
            some = fresh[at : at + _ROWS_A_WRITE]
            _put(collection, manifest, [row.id for row in some])
            bar.advance(len(some))
    except HomegroundError:
        raise
    except Exception as error:
        if not _on_server(place):
            raise
        raise _unanswered(place, error) from error
    client.close()
    atomic_write_text(place.folder / _HELD, json.dumps(list(rows)))
    bar.done(f"{len(fresh)} put, {len(gone)} taken out")


def _on_server(place: Place) -> bool:
    return place.config.mode == "server"


def _put(collection: Any, manifest: Manifest, ids: list[str]) -> None:
    vectors = manifest.vectors_of(ids)
    facts = {chunk.id: chunk for chunk in manifest.chunks(ids)}
    collection.upsert(
        ids=ids,
        embeddings=np.stack([vectors[key] for key in ids]).astype(np.float32),
        metadatas=[
            {"path": c.path, "symbol": c.symbol, "kind": c.kind, "language": c.language}
            for c in (facts[key] for key in ids)
        ],
    )


def _made(client: Any, place: Place) -> Any:
    try:
        return client.get_or_create_collection(place.collection, configuration={"hnsw": _HNSW}, embedding_function=None)
    except Exception as error:
        raise _unanswered(place, error) from error


def _existing(client: Any, place: Place) -> Any:
    try:
        return client.get_collection(place.collection, embedding_function=None)
    except Exception as error:
        raise _unanswered(place, error) from error


def _address(config: ChromaConfig) -> str:
    return f"{'https' if config.ssl else 'http'}://{config.host}:{config.port}"


def _away(config: ChromaConfig, error: Exception) -> HomegroundError:
    return HomegroundError(
        f"the Chroma server does not answer ({type(error).__name__})",
        where=_address(config),
        hint="start it (chroma run --path FOLDER), correct index.chroma.host and port, or set index.chroma.mode to "
        "embedded; what was embedded is kept",
    )


def _unanswered(place: Place, error: Exception) -> HomegroundError:
    if _on_server(place):
        if type(error).__name__ == "NotFoundError":
            _forget(place)
            return HomegroundError(
                "the Chroma server does not hold this index",
                where=f"{_address(place.config)}, collection {place.collection}",
                hint="run homeground index again: it is written anew from the manifest, without embedding",
            )
        return _away(place.config, error)
    _forget(place)
    return DamagedError(
        f"Chroma's files cannot be read: {error}",
        where=str(place.folder),
        hint="run homeground index again: they are written anew from the manifest, without embedding",
    )


def _forget(place: Place) -> None:
    """Mark a collection as unfinished, if its folder is writable."""
    if writable(place.folder):
        (place.folder / _HELD).unlink(missing_ok=True)
