"""Definitions, calls and imports of every indexed file (SQLite), beside the manifest and made from what it holds.

A file's lines are put together again from its chunks, so what is outlined is what was indexed, secrets replaced. A file
is outlined again only when its hash in the manifest has changed; a run that was killed is finished by the next one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from homeground.base.progress import Progress
from homeground.base.record import HIDDEN, Record
from homeground.corpus import LANGUAGES, Chunk, Import, Outline, outline
from homeground.index.build import writing
from homeground.index.manifest import IN_THREADS, Manifest, connect, writable

_VERSION = 3  # of the tables and of what `outline` finds; another one means outlining everything again
_NAMES = ("files", "definitions", "calls", "imports", "made_from")
_TABLES = """
CREATE TABLE made_from (generation INTEGER NOT NULL);
CREATE TABLE files (
    number INTEGER PRIMARY KEY, root INTEGER NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, language TEXT NOT NULL,
    UNIQUE (root, path));
CREATE TABLE definitions (
    file INTEGER NOT NULL, symbol TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, kind TEXT NOT NULL,
    start INTEGER NOT NULL, stop INTEGER NOT NULL, line INTEGER NOT NULL, head_end INTEGER NOT NULL,
    signature TEXT NOT NULL);
CREATE INDEX definitions_by_name ON definitions (name);
CREATE INDEX definitions_by_file ON definitions (file);
CREATE TABLE calls (
    file INTEGER NOT NULL, name TEXT NOT NULL, qualifier TEXT NOT NULL, line INTEGER NOT NULL, symbol TEXT NOT NULL);
CREATE INDEX calls_by_name ON calls (name);
CREATE INDEX calls_by_file ON calls (file);
CREATE TABLE imports (
    file INTEGER NOT NULL, module TEXT NOT NULL, name TEXT NOT NULL, alias TEXT NOT NULL, line INTEGER NOT NULL);
CREATE INDEX imports_by_file ON imports (file);
"""
_HASHES = "SELECT root, path, hash FROM files"
_DEFINITION = (
    "d.file, f.path, d.symbol, d.kind, d.start, d.stop, d.line, d.head_end, d.signature, f.language"
    " FROM definitions d JOIN files f ON d.file = f.number"
)
_CALL = (
    "c.file, f.path, f.language, c.name, c.qualifier, c.line, c.symbol FROM calls c JOIN files f ON c.file = f.number"
)


@dataclass(frozen=True, slots=True)
class Symbol(Record):
    """A definition and where it is.

    Attributes:
        file: number of its file in the tables.
        path: of the file, relative to `Index.base`.
        symbol: dotted name.
        kind: "function", "method", "class", ...
        start: first line, 1-based, decorators included.
        end: last line, inclusive.
        line: the line with the name.
        head_end: last line of its head.
        signature: the head on one line.
        language: of the file.
    """

    file: Annotated[int, HIDDEN]
    path: str
    symbol: str
    kind: str
    start: int
    end: int
    line: int
    head_end: Annotated[int, HIDDEN]
    signature: str
    language: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call and where it is: the file, its path and language, what is called, what is before its dot, who calls."""

    file: int
    path: str
    language: str
    name: str
    qualifier: str
    line: int
    symbol: str


class Symbols:
    """The open tables. Safe to read from several threads; written under the index's lock.

    Args:
        path: the SQLite file; created if it is missing or of another version. None keeps the tables in memory.

    Raises:
        sqlite3.OperationalError: it must be created, but its folder is not writable.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.RLock()
        self._db = connect(path) if path is not None else sqlite3.connect(":memory:", **IN_THREADS)
        try:
            if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                drops = "".join(f"DROP TABLE IF EXISTS {table};" for table in _NAMES)
                self._db.executescript(f"BEGIN IMMEDIATE;{drops}{_TABLES}PRAGMA user_version = {_VERSION};COMMIT;")
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    @property
    def generation(self) -> int:
        """Generation of the manifest from which the tables were made."""
        rows = self._rows("SELECT generation FROM made_from")
        return int(rows[0][0]) if rows else -1

    def covers(self, manifest: Manifest) -> bool:
        """Whether every file of the manifest is outlined as it is there, and no other."""
        outlined = {(root, path): key for root, path, key in self._rows(_HASHES)}
        return self.generation == manifest.generation and manifest.files() == outlined

    def update(self, manifest: Manifest, progress: Progress) -> None:
        """Bring the tables up to date with the manifest, in one transaction."""
        wanted = manifest.files()
        known = {(root, path): key for root, path, key in self._rows(_HASHES)}
        gone = [key for key in known if key not in wanted]
        changed = [key for key, hashed in wanted.items() if known.get(key) != hashed]
        bar = progress.bar("outlining files", total=len(changed)) if gone or changed else None
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for key in [*gone, *changed]:
                    self._forget(*key)
                for root, path in changed:
                    self._put(root, path, wanted[root, path], manifest.file_chunks(root, path))
                    if bar is not None:
                        bar.advance(1)
                self._db.execute("DELETE FROM made_from")
                self._db.execute("INSERT INTO made_from VALUES (?)", (manifest.generation,))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        if bar is not None:
            bar.done(f"{len(changed)} outlined")

    def _forget(self, root: int, path: str) -> None:
        for (number,) in self._rows("SELECT number FROM files WHERE root = ? AND path = ?", (root, path)):
            for table in ("definitions", "calls", "imports"):
                self._db.execute(f"DELETE FROM {table} WHERE file = ?", (number,))
            self._db.execute("DELETE FROM files WHERE number = ?", (number,))

    def _put(self, root: int, path: str, hashed: str, chunks: Sequence[Chunk]) -> None:
        found, language = _outlined(chunks)
        number = self._db.execute(
            "INSERT INTO files (root, path, hash, language) VALUES (?, ?, ?, ?)", (root, path, hashed, language)
        ).lastrowid
        self._db.executemany(
            "INSERT INTO definitions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (number, d.symbol, d.name, d.kind, d.start, d.end, d.line, d.head_end, d.signature)
                for d in found.definitions
            ),
        )
        self._db.executemany(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?)",
            ((number, one.name, one.qualifier, one.line, one.symbol) for one in found.references),
        )
        self._db.executemany(
            "INSERT INTO imports VALUES (?, ?, ?, ?, ?)",
            ((number, one.module, one.name, one.alias, one.line) for one in found.imports),
        )

    def all(self) -> list[Symbol]:
        """Every definition, ordered by root, path and line."""
        return [Symbol(*row) for row in self._rows(f"SELECT {_DEFINITION} ORDER BY f.root, f.path, d.start")]

    def named(self, name: str) -> list[Symbol]:
        """Definitions whose last name is this one, in any case of letters."""
        sql = f"SELECT {_DEFINITION} WHERE d.name = ? ORDER BY f.root, f.path, d.start"
        return [Symbol(*row) for row in self._rows(sql, (name,))]

    def in_file(self, path: str) -> list[Symbol]:
        """Definitions of the file, in the order of their lines; outer ones first."""
        sql = f"SELECT {_DEFINITION} WHERE f.path = ? ORDER BY f.root, d.start, d.stop DESC"
        return [Symbol(*row) for row in self._rows(sql, (path,))]

    def calls_of(self, name: str) -> list[Call]:
        """Calls of anything with this last name, ordered by path and line."""
        sql = f"SELECT {_CALL} WHERE c.name = ? ORDER BY f.root, f.path, c.line"
        return [Call(*row) for row in self._rows(sql, (name,))]

    def calls_in(self, symbol: Symbol) -> list[Call]:
        """Calls within the lines of a definition."""
        sql = (
            f"SELECT {_CALL} WHERE c.file = ? AND c.line BETWEEN ? AND ?"
            " AND (c.symbol = ? OR substr(c.symbol, 1, ?) = ?) ORDER BY c.line"
        )
        inner = f"{symbol.symbol}."
        return [
            Call(*row)
            for row in self._rows(sql, (symbol.file, symbol.start, symbol.end, symbol.symbol, len(inner), inner))
        ]

    def imports_of(self, file: int) -> list[Import]:
        """What the file imports."""
        sql = "SELECT module, name, alias, line FROM imports WHERE file = ?"
        return [Import(*row) for row in self._rows(sql, (file,))]

    def renamed(self, name: str) -> list[str]:
        """Other names under which files import something of this name."""
        sql = "SELECT DISTINCT alias FROM imports WHERE name = ? AND alias NOT IN (name, '')"
        return [row[0] for row in self._rows(sql, (name,))]


def open_symbols(path: Path, manifest: Manifest) -> Symbols:
    """Open the manifest's tables; in memory if they must be written but the folder is not writable."""
    quiet = Progress(quiet=True)
    if writable(path.parent):
        found = Symbols(path)
        if not found.covers(manifest):
            with writing(path.parent):
                found.update(manifest, quiet)
        return found
    try:
        found = Symbols(path)
    except sqlite3.OperationalError:  # missing, or of another version
        pass
    else:
        if found.covers(manifest):
            return found
        found.close()
    found = Symbols(None)
    found.update(manifest, quiet)
    return found


def lines_of(chunks: Sequence[Chunk]) -> list[str]:
    """Lines of a file, from its chunks in order; they hold every non-blank line once, or in parts."""
    lines = [""] * max((chunk.end for chunk in chunks), default=0)
    for before, chunk in zip([None, *chunks], chunks, strict=False):
        if before is not None and before.start == chunk.start:
            lines[chunk.start - 1] += chunk.text
        else:
            lines[chunk.start - 1 : chunk.end] = chunk.text.split("\n")
    return lines


def _outlined(chunks: Sequence[Chunk]) -> tuple[Outline, str]:
    name = chunks[0].language if chunks else ""
    language = next((one for one in LANGUAGES if one.name == name), None)
    return (Outline() if language is None else outline(lines_of(chunks), language)), name
