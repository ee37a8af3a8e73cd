"""The manifest (SQLite): files, chunks and vectors. It is the truth; the views are rebuilt from it.

A build *stages* files: their chunks are in the tables at once, a few thousand at a time, but nobody sees them until
`publish` makes them all live in one transaction. So a build holds little in memory, a killed one loses little, and a
reader never sees half of a change.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.base.fulldisk import is_full
from homeground.corpus import Chunk

SCHEMA_VERSION = 2
IN_THREADS: dict[str, Any] = {"check_same_thread": False, "isolation_level": None, "timeout": 30}
"""Options of connections that are shared between threads; their owners lock."""
_IDS_A_QUERY = 500
_LEAST_VACUUM_PAGES = 4096
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    number INTEGER PRIMARY KEY, root INTEGER NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, size INTEGER NOT NULL,
    staged INTEGER NOT NULL, UNIQUE (root, path, staged));
CREATE TABLE contents (hash TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE chunks (
    id TEXT NOT NULL, file INTEGER NOT NULL REFERENCES files (number), start INTEGER NOT NULL, stop INTEGER NOT NULL,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, language TEXT NOT NULL, header TEXT NOT NULL, text TEXT NOT NULL,
    content TEXT NOT NULL, PRIMARY KEY (id, file)) WITHOUT ROWID;
CREATE INDEX chunks_by_file ON chunks (file, start);
CREATE INDEX chunks_by_content ON chunks (content);
"""
_CHUNK_COLUMNS = "c.id, f.path, c.start, c.stop, c.symbol, c.kind, c.language, c.header, c.text"
_LIVE = "chunks c JOIN files f ON c.file = f.number AND f.staged = 0"
_IN_ORDER = "ORDER BY f.root, f.path, c.start, c.id"


class Row(NamedTuple):
    """What tells a chunk apart in a view: its id, and the hash of the content that was embedded."""

    id: str
    content: str


class ListedFile(NamedTuple):
    """An indexed file: number of its root, path, language, size in bytes, how many chunks it has."""

    root: int
    path: str
    language: str
    size: int
    chunks: int


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk and the hash of the content that its vector belongs to."""

    chunk: Chunk
    content: str


@contextmanager
def reporting(folder: Path) -> Generator[None]:
    """Turns what a disk can do to an index into errors that say what to do.

    Raises:
        HomegroundError: the disk is full, the folder may not be written, or the database is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise _full(folder, error) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise _not_writable(folder, str(error)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise HomegroundError(
                "another process is writing this index", where=str(folder), hint="wait until it is done, then try again"
            ) from error
        raise _damaged(folder, error) from error
    except OSError as error:
        if is_full(error):
            raise _full(folder, error.strerror) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
            raise _not_writable(folder, error.strerror) from error
        raise


def _full(folder: Path, problem: object) -> HomegroundError:
    return HomegroundError(
        f"the index cannot be written: {problem}",
        where=str(folder),
        hint="free some disk space, or choose another workspace with --home; nothing is lost: run homeground index "
        "again, and it goes on where it stopped",
    )


def _not_writable(folder: Path, problem: object) -> HomegroundError:
    return HomegroundError(
        f"the index may not be written: {problem}",
        where=str(folder),
        hint="get permission to write there, or choose another workspace with --home",
    )


def _damaged(folder: Path, error: Exception) -> HomegroundError:
    return HomegroundError(
        f"the index cannot be read: {error}",
        where=str(folder),
        hint=f"delete {folder} and run homeground index again; your sources are not touched",
    )


def writable(folder: Path) -> bool:
    """Test whether files can be created in the folder; false for every user on a read-only file system."""
    return os.access(folder, os.W_OK)


class _OfCopy(sqlite3.Connection):
    """A connection that accepts weak references, so that its files can be deleted with it."""


def connect(path: Path) -> sqlite3.Connection:
    """Connect to a SQLite file in WAL mode; the connection is read-only if the folder is not writable.

    SQLite cannot open a WAL file in a read-only folder, because it would write a log beside it. A log left by a killed
    writer holds the newest commits, so file and log are then read from a copy.
    """
    if writable(path.parent):
        db = sqlite3.connect(path, **IN_THREADS)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        return db
    place = path.absolute().as_uri()
    db = sqlite3.connect(f"{place}?mode=ro", uri=True, **IN_THREADS)
    try:
        db.execute("PRAGMA user_version")
        return db
    except sqlite3.OperationalError:
        db.close()
    log = path.with_name(f"{path.name}-wal")
    if not (log.is_file() and log.stat().st_size):
        return sqlite3.connect(f"{place}?immutable=1", uri=True, **IN_THREADS)
    copy = Path(tempfile.mkdtemp(prefix="homeground-index-"))
    for file in (path, log):
        shutil.copyfile(file, copy / file.name)
    db = sqlite3.connect(copy / path.name, factory=_OfCopy, **IN_THREADS)
    weakref.finalize(db, shutil.rmtree, copy, ignore_errors=True)
    return db


class Manifest:
    """One SQLite file. Safe to read from several threads; one process writes at a time, under the index's lock.

    Args:
        path: of the file.
        create: make it when it is not there, and make it anew when an older version wrote it.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.outdated = False
        self._lock = threading.RLock()
        if not create and not path.is_file():
            raise HomegroundError(
                "there is no index here", where=str(path.parent), hint="make one first: homeground index FOLDER"
            )
        with reporting(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._identity() if path.is_file() else None
            self._db = connect(path)
            try:
                self._open(create)
                self._file = self._file or self._identity()
            except BaseException:
                self._db.close()
                raise

    def _open(self, create: bool) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise HomegroundError(
                f"the index was written by a newer Homeground (schema {version}, this one knows {SCHEMA_VERSION})",
                where=str(self.path),
                hint=f"upgrade Homeground, or delete {self.path.parent} and run homeground index again",
            )
        self.outdated = 0 < version < SCHEMA_VERSION
        if self.outdated and not create:
            raise HomegroundError(
                "the index was written by an older Homeground",
                where=str(self.path),
                hint="run homeground index again: it is made anew",
            )
        if version < SCHEMA_VERSION:
            self._create()

    def _create(self) -> None:
        names = [row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        drops = "".join(f"DROP TABLE {name};" for name in names if not name.startswith("sqlite_"))
        self._db.executescript(f"BEGIN IMMEDIATE;{drops}{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")

    def _identity(self) -> tuple[int, ...]:
        told = self.path.stat()
        if writable(self.path.parent):
            return (told.st_dev, told.st_ino)
        log = self.path.with_name(f"{self.path.name}-wal")
        return (told.st_dev, told.st_ino, told.st_mtime_ns, told.st_size, log.stat().st_size if log.is_file() else 0)

    @property
    def replaced(self) -> bool:
        """Test whether the file must be opened again: it was replaced, or a read-only one was written."""
        return not self.path.is_file() or self._identity() != self._file

    @property
    def generation(self) -> int:
        """Number of publications so far."""
        return int(self.get("generation", 0))

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
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself has rolled back when the disk is full
                    self._db.execute("ROLLBACK")
                raise

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

    def files(self, *, staged: bool = False) -> dict[tuple[int, str], str]:
        """Hash of every live (or every staged) file, by number of its root and path."""
        rows = self._rows("SELECT root, path, hash FROM files WHERE staged = ?", (int(staged),))
        return {(root, path): digest for root, path, digest in rows}

    def listed(self) -> list[ListedFile]:
        """Every live file with a chunk, ordered by root and path."""
        sql = f"SELECT f.root, f.path, min(c.language), f.size, count(*) FROM {_LIVE} GROUP BY f.number"
        return list(map(ListedFile._make, self._rows(f"{sql} ORDER BY f.root, f.path")))

    def stage(self, root: int, path: str, digest: str, size: int, chunks: Iterable[StoredChunk]) -> None:
        """Stores a file with its chunks, to become visible with `publish`. `size` in bytes."""
        with self._lock:
            self.unstage([(root, path)])
            number = self._db.execute(
                "INSERT INTO files (root, path, hash, size, staged) VALUES (?, ?, ?, ?, 1)", (root, path, digest, size)
            ).lastrowid
            assert number is not None
            self._insert(number, chunks)

    def unstage(self, keys: Iterable[tuple[int, str]]) -> None:
        """Forgets staged files that are not wanted any more."""
        with self._lock:
            for root, path in keys:
                self._drop("root = ? AND path = ? AND staged = 1", (root, path))

    def publish(self, gone: Iterable[tuple[int, str]]) -> None:
        """Makes all staged files live in place of what was known of them, and forgets the files that are gone."""
        with self._lock:
            for root, path in gone:
                self._drop("root = ? AND path = ? AND staged = 0", (root, path))
            self._drop("staged = 0 AND (root, path) IN (SELECT root, path FROM files WHERE staged = 1)", ())
            self._db.execute("UPDATE files SET staged = 0 WHERE staged = 1")

    def _drop(self, which: str, values: Sequence[Any]) -> None:
        self._db.execute(f"DELETE FROM chunks WHERE file IN (SELECT number FROM files WHERE {which})", values)
        self._db.execute(f"DELETE FROM files WHERE {which}", values)

    def replace_chunk(self, old: str, new: StoredChunk) -> None:
        """Puts a chunk in the place of another one of the same file."""
        with self._lock:
            number = self._rows(f"SELECT c.file FROM {_LIVE} WHERE c.id = ?", (old,))[0][0]
            self._db.execute("DELETE FROM chunks WHERE id = ? AND file = ?", (old, number))
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

    def known_contents(self, hashes: Sequence[str]) -> set[str]:
        """Those of the hashes that have a vector."""
        found: set[str] = set()
        for some in _portions(hashes):
            found.update(
                row[0] for row in self._rows(f"SELECT hash FROM contents WHERE hash IN ({_marks(some)})", some)
            )
        return found

    def put_contents(self, rows: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
        """Stores (hash, vector) of contents. Vectors are kept as float16: eight times as fine as bf16."""
        with self._lock:
            self._db.executemany(
                "INSERT OR REPLACE INTO contents VALUES (?, ?)",
                ((key, vector.astype(np.float16).tobytes()) for key, vector in rows),
            )

    def forget_unused(self) -> None:
        """Deletes the vectors that no chunk refers to."""
        with self._lock:
            self._db.execute("DELETE FROM contents WHERE hash NOT IN (SELECT content FROM chunks)")

    def vacuum(self) -> bool:
        """Gives the disk back what deletions left free, when that is at least half of the file and 16 MB."""
        with self._lock:
            free = int(self._rows("PRAGMA freelist_count")[0][0])
            if free < _LEAST_VACUUM_PAGES or 2 * free < int(self._rows("PRAGMA page_count")[0][0]):
                return False
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return True

    def counts(self) -> tuple[int, int]:
        """Number of files and of chunks."""
        row = self._rows(f"SELECT (SELECT count(*) FROM files WHERE staged = 0), (SELECT count(*) FROM {_LIVE})")[0]
        return int(row[0]), int(row[1])

    def rows(self) -> list[Row]:
        """Id and content of all chunks, ordered by root, path and line."""
        return list(map(Row._make, self._rows(f"SELECT c.id, c.content FROM {_LIVE} {_IN_ORDER}")))

    def dimension(self) -> int:
        """Numbers of a vector."""
        (row,) = self._rows(f"SELECT length(k.vector) FROM {_LIVE} JOIN contents k ON c.content = k.hash LIMIT 1")
        return int(row[0]) // 2

    def chunks(self, ids: Sequence[str] | None = None) -> list[Chunk]:
        """Chunks of the given ids (unknown ids are left out), or all; ordered by root, path and line."""
        base = f"SELECT {_CHUNK_COLUMNS} FROM {_LIVE}"
        if ids is None:
            return [Chunk(*row) for row in self._rows(f"{base} {_IN_ORDER}")]
        found: list[Chunk] = []
        for some in _portions(ids):
            rows = self._rows(f"{base} WHERE c.id IN ({_marks(some)}) {_IN_ORDER}", some)
            found.extend(Chunk(*row) for row in rows)
        return found

    def facts(self) -> list[tuple[str, str, str, str, str]]:
        """(id, path, symbol, kind, language) of every chunk: what filters look at."""
        return self._rows(f"SELECT c.id, f.path, c.symbol, c.kind, c.language FROM {_LIVE}")

    def file_chunks(self, root: int, path: str) -> list[Chunk]:
        """Chunks of one file, in the order of their lines."""
        sql = f"SELECT {_CHUNK_COLUMNS} FROM {_LIVE} WHERE f.root = ? AND f.path = ? {_IN_ORDER}"
        return [Chunk(*row) for row in self._rows(sql, (root, path))]

    def named(self, name: str) -> list[Chunk]:
        """Chunks whose symbol is the dotted name or ends in it, in any case of letters; ordered by root, path, line."""
        # Not LIKE, which refuses patterns of more than 50,000 bytes.
        end = f".{name}"
        sql = (
            f"SELECT {_CHUNK_COLUMNS} FROM {_LIVE}"
            f" WHERE c.symbol = ? COLLATE NOCASE OR substr(c.symbol, ?) = ? COLLATE NOCASE {_IN_ORDER}"
        )
        return [Chunk(*row) for row in self._rows(sql, (name, -len(end), end))]

    def at_line(self, path: str, line: int) -> list[Chunk]:
        """Chunks of the file that hold the line, or a part of it."""
        sql = f"SELECT {_CHUNK_COLUMNS} FROM {_LIVE} WHERE f.path = ? AND c.start <= ? AND c.stop >= ? {_IN_ORDER}"
        return [Chunk(*row) for row in self._rows(sql, (path, line, line))]

    def vectors_of(self, ids: Sequence[str]) -> dict[str, NDArray[np.float16]]:
        """Vector of each chunk, by chunk id."""
        found: dict[str, NDArray[np.float16]] = {}
        for some in _portions(ids):
            rows = self._rows(
                f"SELECT c.id, k.vector FROM {_LIVE} JOIN contents k ON c.content = k.hash"
                f" WHERE c.id IN ({_marks(some)})",
                some,
            )
            found.update((key, np.frombuffer(blob, dtype=np.float16)) for key, blob in rows)
        return found

    def contents(self, hashes: Sequence[str]) -> list[tuple[str, NDArray[np.float32]]]:
        """(hash, vector) of those contents that are known."""
        found: list[tuple[str, NDArray[np.float32]]] = []
        for some in _portions(hashes):
            rows = self._rows(f"SELECT hash, vector FROM contents WHERE hash IN ({_marks(some)})", some)
            found.extend((key, np.frombuffer(blob, dtype=np.float16).astype(np.float32)) for key, blob in rows)
        return found

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


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
