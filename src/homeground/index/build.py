"""Indexing: from folders to a manifest, embedding only what is new, so that a killed run can simply be run again.

Two passes. The first walks and hashes, and keeps no file's content. The second reads what is new or changed, a few
thousand chunks at a time: cut, embed, stage (see `manifest`). Then everything becomes visible at once.

A vector is kept under what was embedded *without the path*: the same symbol with the same text shares one vector,
wherever it lies and wherever it moves to. The path that the embedder read with it is that of the first place.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.base.progress import Bar, Progress, clock
from homeground.corpus import (
    Chunk,
    Corpus,
    FoundSecret,
    LeftOutError,
    Skip,
    SourceFile,
    below,
    chunk_lines,
    digest,
    nfc,
)
from homeground.corpus.chunker import PART_DIGITS
from homeground.corpus.reading import read_bytes
from homeground.index.config import IndexConfig
from homeground.index.manifest import Manifest, StoredChunk, reporting
from homeground.index.protocols import Embedder

_CHUNKER_VERSION = "8"
_CONTENT_VERSION = "3"  # changes with what is embedded
_COMMIT_EVERY = 1024
_WINDOW_CHUNKS = 4096
_WINDOW_CHARACTERS = 8_000_000
_LOCK_WAIT_S = 60.0
_GROWTH = 1_000_000  # of a file that somebody writes between the passes
_BYTES_A_TOKEN = 3.0  # of source code, and what the breadcrumbs add
_SAMPLE = "def read_chunked(self, amount=None):\n    return b''.join(self._parts[:amount])  # all of it\n" * 4
_SAMPLES = 1024  # texts: as much work to an embedder as a corpus, of which a second is done
_SAMPLING_S = 1.0


@dataclass
class Scan:
    """What lies on disk now, compared with the manifest.

    Attributes:
        changed: files to read again: number of the root, the file without its bytes, and its size.
        gone: files that the manifest knows and the disk does not.
        secrets: what was redacted in the changed files.
        files: how many there are.
        resumed: new or changed files that an earlier run, which was not finished, has read already.
    """

    changed: list[tuple[int, SourceFile, int]] = field(default_factory=list[tuple[int, SourceFile, int]])
    gone: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    secrets: list[FoundSecret] = field(default_factory=list[FoundSecret])
    files: int = 0
    resumed: int = 0


@dataclass(frozen=True)
class IndexReport:
    """Result of one indexing run.

    `embedded` counts the texts that went through the embedder, `reused` the chunks whose vector was already there:
    from an earlier run, or from a chunk of the same content. `secrets` lists those of the files that were read anew.
    `changed` counts files that are new or not as they were, `gone` those that are no more.
    """

    roots: list[str]
    files: int
    chunks: int
    embedded: int
    reused: int
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    secrets: list[FoundSecret] = field(default_factory=list[FoundSecret])
    seconds: float = 0.0
    changed: int = 0
    gone: int = 0

    def to_json(self) -> dict[str, Any]:
        """The document that `homeground index --json` prints."""
        return {
            "roots": self.roots,
            "files": self.files,
            "chunks": self.chunks,
            "embedded": self.embedded,
            "reused": self.reused,
            "skipped": self.skipped,
            "secrets": [secret.to_json() for secret in self.secrets],
            "seconds": round(self.seconds, 3),
            "changed": self.changed,
            "gone": self.gone,
        }


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Holds the index's lock: two processes never write the same index.

    Raises:
        HomegroundError: another process has held it for a minute, or the disk does not let us write.
    """
    with reporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=_LOCK_WAIT_S)
        try:
            lock.acquire()
        except Timeout:
            raise HomegroundError(
                "another process is writing this index", where=str(folder), hint="wait until it is done, then try again"
            ) from None
        try:
            yield
        finally:
            lock.release()


def scan(manifest: Manifest, corpus: Corpus, config: IndexConfig, embedder: Embedder, progress: Progress) -> Scan:
    """Walks the corpus and hashes every file; what an earlier run has staged and still holds is not listed again."""
    live, staged = manifest.files(), manifest.files(staged=True)
    recipe = _recipe(config, embedder)
    result = Scan()
    bar = progress.bar("reading files")
    seen: set[tuple[int, str]] = set()
    unwanted = set(staged)
    for number, file in corpus:
        key = (number, file.path)
        seen.add(key)
        hashed = digest(recipe, file.data)
        if live.get(key) != hashed:
            if staged.get(key) == hashed:
                unwanted.discard(key)
                result.resumed += 1
            else:
                result.changed.append((number, replace(file, data=b""), len(file.data)))
        bar.advance(1)
    with manifest.transaction():
        manifest.unstage(unwanted)
    result.files = len(seen)
    result.gone = [key for key in live if key not in seen]
    bar.done(f"{len(seen)} files, {len(result.changed)} of them new or changed")
    return result


def _recipe(config: IndexConfig, embedder: Embedder) -> str:
    return digest(_CHUNKER_VERSION, str(config.max_tokens), embedder.revision)


def announce(manifest: Manifest, found: Scan, config: IndexConfig, embedder: Embedder, progress: Progress) -> None:
    """Says what is embedded again and about how long that takes, where another model or chunker is the reason."""
    made_with = manifest.get("made_with")
    if manifest.outdated:
        reason = "the index was written by an older Homeground"
    elif made_with is None or not found.changed:
        return
    elif made_with["revision"] != embedder.revision:
        before = made_with["embedder"]
        same = before == config.embedder
        reason = f"the weights of {before} changed" if same else f"{config.embedder} takes the place of {before}"
    elif made_with["max_tokens"] != config.max_tokens:
        reason = f"chunks have {config.max_tokens} tokens instead of {made_with['max_tokens']}"
    elif made_with["chunker"] != _CHUNKER_VERSION:
        reason = "files are cut differently since the last run"
    else:
        return
    size = sum(size for _, _, size in found.changed)
    seconds = size / _BYTES_A_TOKEN / _tokens_per_second(embedder)
    progress.line(
        f"{reason}: {len(found.changed)} files ({size / 1e6:.1f} MB) are cut and embedded again, "
        f"about {clock(seconds)} on this machine"
    )


def _tokens_per_second(embedder: Embedder) -> float:
    """Throughput of the fastest batch within a second; the first batch loads the model."""
    tokens = embedder.count([_SAMPLE])[0]
    best, stop = 0.0, None
    began = time.perf_counter()
    for positions, _ in embedder.encode([_SAMPLE] * _SAMPLES):
        now = time.perf_counter()
        best = max(best, len(positions) * tokens / (now - began))
        stop = stop or now + _SAMPLING_S
        if now > stop:
            break
        began = now
    return best


def store_changed(
    manifest: Manifest, corpus: Corpus, found: Scan, config: IndexConfig, embedder: Embedder, progress: Progress
) -> int:
    """Cuts, embeds and stages every new or changed file, a window at a time; returns how many texts were embedded.

    Vectors are committed as they come: what a killed run has embedded is not embedded again.
    """
    if not found.changed:
        return 0
    recipe, live = _recipe(config, embedder), manifest.files()
    bar = _SourceBar(progress.bar("embedding, KB of source", total=sum(size for _, _, size in found.changed) // 1000))
    window: list[tuple[int, SourceFile, list[StoredChunk]]] = []
    embedded = 0

    def flush() -> None:
        nonlocal embedded
        bar.begin(sum(len(file.data) for _, file, _ in window), sum(len(chunks) for _, _, chunks in window))
        embedded += embed_missing(manifest, [one for *_, chunks in window for one in chunks], embedder, bar.advance)
        with manifest.transaction():
            for number, file, chunks in window:
                manifest.stage(number, file.path, digest(recipe, file.data), len(file.data), chunks)
        bar.end()
        window.clear()

    held = characters = 0
    for number, listed, size in found.changed:
        before = below(corpus.base, corpus.roots[number])
        try:
            data = read_bytes(listed.root / listed.path, 2 * size + _GROWTH)
            file = replace(listed, data=data)
            chunks = _chunks(file, before, config, embedder)
        except (LeftOutError, OSError) as error:  # a document that cannot be read, or a file that changes right now
            reason = error.reason if isinstance(error, LeftOutError) else Skip.UNREADABLE
            corpus.leave_out(number, listed.path.removeprefix(before), reason)
            found.files -= 1
            if (number, listed.path) in live:
                found.gone.append((number, listed.path))
            continue
        found.secrets += [FoundSecret(file.path, one.line, one.kind) for one in file.text.secrets]
        window.append((number, file, chunks))
        held, characters = held + len(chunks), characters + len(file.data)
        if held >= _WINDOW_CHUNKS or characters >= _WINDOW_CHARACTERS:
            flush()
            held = characters = 0
    flush()
    bar.bar.done(f"{embedded} chunks embedded")
    return embedded


class _SourceBar:
    """Turns embedded texts into KB of source, so that the bar knows its end before the files are cut."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self._before = self._size = self._texts = self._done = 0

    def begin(self, size: int, texts: int) -> None:
        self._size, self._texts, self._done = size, max(texts, 1), 0

    def advance(self, texts: int) -> None:
        self._done = min(self._done + texts, self._texts)
        self._show(self._before + self._size * self._done // self._texts)

    def end(self) -> None:
        self._before += self._size
        self._show(self._before)

    def _show(self, size: int) -> None:
        self.bar.advance(max(size // 1000 - self.bar.completed, 0))


def _chunks(file: SourceFile, before: str, config: IndexConfig, embedder: Embedder) -> list[StoredChunk]:
    # Where the root lies is no reason to cut a file otherwise: two worktrees share their vectors.
    own = file.path.removeprefix(before)
    chunks = chunk_lines(
        own,
        file.text.lines,
        file.language,
        max_tokens=config.max_tokens,
        count=embedder.count,
        sections=file.text.sections,
    )
    if before:
        chunks = [
            replace(
                chunk,
                id=digest(chunk.id[:-PART_DIGITS], before)[:-PART_DIGITS] + chunk.id[-PART_DIGITS:],
                path=file.path,
                header=file.path + chunk.header.removeprefix(own),
            )
            for chunk in chunks
        ]
    return [stored(chunk, embedder) for chunk in chunks]


def stored(chunk: Chunk, embedder: Embedder) -> StoredChunk:
    """The chunk with the key of its vector: what is embedded but for the path, and the embedder."""
    body = chunk.indexed_text.removeprefix(nfc(chunk.path))
    return StoredChunk(chunk, digest(_CONTENT_VERSION, embedder.revision, body))


def embed_missing(
    manifest: Manifest, chunks: Sequence[StoredChunk], embedder: Embedder, advance: Callable[[int], None]
) -> int:
    """Embeds every content that has no vector yet, once; returns how many there were.

    Args:
        manifest: where vectors are kept.
        chunks: as many as memory may hold.
        embedder: how.
        advance: receives the number of texts embedded since the last call.
    """
    known = manifest.known_contents(list({one.content for one in chunks}))
    new: dict[str, Chunk] = {}
    for one in chunks:
        if one.content not in known:
            new.setdefault(one.content, one.chunk)
    keys = list(new)
    waiting: list[tuple[str, NDArray[np.float32]]] = []

    def flush() -> None:
        with manifest.transaction():
            manifest.put_contents(waiting)
        waiting.clear()

    for positions, vectors in embedder.encode([new[key].indexed_text for key in keys]):
        waiting.extend((keys[position], vector) for position, vector in zip(positions, vectors, strict=True))
        if len(waiting) >= _COMMIT_EVERY:
            flush()
        advance(len(positions))
    flush()
    return len(keys)


def publish(manifest: Manifest, corpus: Corpus, found: Scan, config: IndexConfig, embedder: Embedder) -> None:
    """Publish the staged rows and delete those of removed files, within the caller's transaction."""
    if found.gone or manifest.files(staged=True):
        manifest.publish(found.gone)
        manifest.forget_unused()
        manifest.put("generation", manifest.generation + 1)
    manifest.put("roots", [str(root) for root in corpus.roots])
    manifest.put("base", str(corpus.base))
    manifest.put("settings", config.model_dump())
    manifest.put(
        "made_with",
        {
            "embedder": config.embedder,
            "revision": embedder.revision,
            "max_tokens": config.max_tokens,
            "chunker": _CHUNKER_VERSION,
        },
    )
    if manifest.get("name") is None:
        manifest.put("name", uuid.uuid4().hex)


def nothing_to_index(roots: Sequence[Path], skipped: Mapping[str, int]) -> HomegroundError:
    """Error for roots in which no file was left to index; counts the reasons."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "the folder is empty"
    return HomegroundError(
        f"no file to index ({reasons})",
        where=", ".join(map(str, roots)),
        hint="give a folder with source or text files, or loosen corpus.exclude and corpus.max_file_kb; "
        "homeground index --dry-run lists what is left out",
    )
