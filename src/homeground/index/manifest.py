"""The manifest (SQLite): files, chunks, content hashes and vectors. It is the truth; the view is rebuilt from it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk

SCHEMA_VERSION = 1
_IDS_A_QUERY = 500
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    number INTEGER PRIMARY KEY, root INTEGER NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (root, path));
CREATE TABLE contents (hash TEXT PRIMARY KEY, vector BLOB NOT NULL, terms TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE chunks (
    id TEXT PRIMARY KEY, file INTEGER NOT NULL REFERENCES files (number), start INTEGER NOT NULL, stop INTEGER NOT NULL,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, language TEXT NOT NULL, header TEXT NOT NULL, text TEXT NOT NULL,
    content TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX chunks_by_file ON chunks (file, start);
"""
_CHUNK_COLUMNS = "c.id, f.path, c.start, c.stop, c.symbol, c.kind, c.language, c.header, c.text"


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk and the hash of the content that its vector belongs to."""

    chunk: Chunk
    content: str


class Manifest:
    """One SQLite file. Safe to read from several threads; one process writes at a time, under the index's lock."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        if not create and not path.is_file():
            raise HomegroundError(
                "there is no index here", where=str(path.parent), hint="make one first: homeground index FOLDER"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._create()
        except sqlite3.DatabaseError as error:
            raise HomegroundError(
                f"the index cannot be read: {error}",
                where=str(path),
                hint=f"delete {path.parent} and run homeground index again; your sources are not touched",
            ) from error
        if version > SCHEMA_VERSION:
            self.close()
            raise HomegroundError(
                f"the index was written by a newer Homeground (schema {version}, this one knows {SCHEMA_VERSION})",
                where=str(path),
                hint=f"upgrade Homeground, or delete {path.parent} and run homeground index again",
            )

    def _create(self) -> None:
        self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Everything inside is kept together or not at all."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the meta table."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else default

    def put(self, key: str, value: Any) -> None:
        """Sets a value of the meta table; the value must be JSON."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def files(self) -> dict[tuple[int, str], str]:
        """Hash of every file, by number of its root and path."""
        return {(root, path): digest for root, path, digest in self._rows("SELECT root, path, hash FROM files")}

    def remove_file(self, root: int, path: str) -> None:
        """Forgets a file and its chunks; the vectors stay until `forget_unused`."""
        with self._lock:
            self._db.execute(
                "DELETE FROM chunks WHERE file IN (SELECT number FROM files WHERE root = ? AND path = ?)", (root, path)
            )
            self._db.execute("DELETE FROM files WHERE root = ? AND path = ?", (root, path))

    def put_file(self, root: int, path: str, digest: str, chunks: Iterable[StoredChunk]) -> None:
        """Stores a file with its chunks in place of what was known of it."""
        with self._lock:
            self.remove_file(root, path)
            number = self._db.execute(
                "INSERT INTO files (root, path, hash) VALUES (?, ?, ?)", (root, path, digest)
            ).lastrowid
            assert number is not None
            self._insert(number, chunks)

    def replace_chunk(self, old: str, new: StoredChunk) -> None:
        """Puts a chunk in the place of another one of the same file."""
        with self._lock:
            number = self._rows("SELECT file FROM chunks WHERE id = ?", (old,))[0][0]
            self._db.execute("DELETE FROM chunks WHERE id = ?", (old,))
            self._insert(number, [new])

    def _insert(self, number: int, chunks: Iterable[StoredChunk]) -> None:
        self._db.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (c.id, number, c.start, c.end, c.symbol, c.kind, c.language, c.header, c.text, stored.content)
                for stored in chunks
                for c in (stored.chunk,)
            ),
        )

    def known_contents(self) -> set[str]:
        """Hashes of all contents that have a vector."""
        return {row[0] for row in self._rows("SELECT hash FROM contents")}

    def put_contents(self, rows: Iterable[tuple[str, NDArray[np.float32], str]]) -> None:
        """Stores (hash, vector, terms) of contents. Vectors are kept as float16: twice as fine as bf16."""
        with self._lock:
            self._db.executemany(
                "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)",
                ((key, vector.astype(np.float16).tobytes(), words) for key, vector, words in rows),
            )

    def forget_unused(self) -> None:
        """Deletes the vectors that no chunk refers to."""
        with self._lock:
            self._db.execute("DELETE FROM contents WHERE hash NOT IN (SELECT content FROM chunks)")

    def counts(self) -> tuple[int, int]:
        """Number of files and of chunks."""
        row = self._rows("SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM chunks)")[0]
        return int(row[0]), int(row[1])

    def ids(self) -> list[str]:
        """Ids of all chunks, ordered by root, path and line."""
        sql = "SELECT c.id FROM chunks c JOIN files f ON c.file = f.number ORDER BY f.root, f.path, c.start"
        return [row[0] for row in self._rows(sql)]

    def chunks(self, ids: Sequence[str] | None = None) -> list[Chunk]:
        """Chunks of the given ids (unknown ids are left out), or all; ordered by root, path and line."""
        tail = "ORDER BY f.root, f.path, c.start"
        base = f"SELECT {_CHUNK_COLUMNS} FROM chunks c JOIN files f ON c.file = f.number"
        if ids is None:
            return [Chunk(*row) for row in self._rows(f"{base} {tail}")]
        found: list[Chunk] = []
        for some in _portions(ids):
            marks = ",".join("?" * len(some))
            found.extend(Chunk(*row) for row in self._rows(f"{base} WHERE c.id IN ({marks}) {tail}", some))
        return found

    def facts(self) -> list[tuple[str, str, str, str, str]]:
        """(id, path, symbol, kind, language) of every chunk: what filters look at."""
        sql = "SELECT c.id, f.path, c.symbol, c.kind, c.language FROM chunks c JOIN files f ON c.file = f.number"
        return self._rows(sql)

    def file_chunks(self, root: int, path: str) -> list[Chunk]:
        """Chunks of one file, in the order of their lines."""
        sql = (
            f"SELECT {_CHUNK_COLUMNS} FROM chunks c JOIN files f ON c.file = f.number"
            " WHERE f.root = ? AND f.path = ? ORDER BY c.start"
        )
        return [Chunk(*row) for row in self._rows(sql, (root, path))]

    def named(self, name: str) -> list[Chunk]:
        """Chunks whose symbol is the dotted name or ends in it, in any case of letters; ordered by root, path, line."""
        end = "%." + name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        sql = (
            f"SELECT {_CHUNK_COLUMNS} FROM chunks c JOIN files f ON c.file = f.number"
            " WHERE c.symbol = ? COLLATE NOCASE OR c.symbol LIKE ? ESCAPE '\\' ORDER BY f.root, f.path, c.start"
        )
        return [Chunk(*row) for row in self._rows(sql, (name, end))]

    def terms_of(self, ids: Sequence[str]) -> list[str]:
        """Terms of each chunk, joined by blanks, in the order of the ids."""
        found = dict(self._contents("terms", ids))
        return [found[key] for key in ids]

    def vectors_of(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vector of each chunk, by chunk id."""
        rows = self._contents("vector", ids)
        return {key: np.frombuffer(blob, dtype=np.float16).astype(np.float32) for key, blob in rows}

    def contents(self, hashes: Sequence[str]) -> list[tuple[str, NDArray[np.float32], str]]:
        """(hash, vector, terms) of those contents that are known."""
        found: list[tuple[str, NDArray[np.float32], str]] = []
        for some in _portions(hashes):
            marks = ",".join("?" * len(some))
            rows = self._rows(f"SELECT hash, vector, terms FROM contents WHERE hash IN ({marks})", some)
            found.extend((key, np.frombuffer(blob, dtype=np.float16).astype(np.float32), w) for key, blob, w in rows)
        return found

    def _contents(self, column: str, ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        for some in _portions(ids):
            marks = ",".join("?" * len(some))
            yield from self._rows(
                f"SELECT c.id, k.{column} FROM chunks c JOIN contents k ON c.content = k.hash WHERE c.id IN ({marks})",
                some,
            )

    def copy_to(self, path: Path) -> None:
        """Writes a complete copy of the file in place of what lies at `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{path.name}.half")
        half.unlink(missing_ok=True)
        with self._lock:
            self._db.execute("VACUUM INTO ?", (str(half),))
        for log in ("-wal", "-shm"):  # of the old file: they must not be applied to the new one
            path.with_name(path.name + log).unlink(missing_ok=True)
        half.replace(path)


def _portions(ids: Sequence[str]) -> Iterator[list[str]]:
    for at in range(0, len(ids), _IDS_A_QUERY):
        yield list(ids[at : at + _IDS_A_QUERY])
