"""Indexing: from folders to a manifest, embedding only what is new, so that a killed run can simply be run again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.corpus import Chunk, Corpus, FoundSecret, LeftOutError, SourceFile, chunk_lines, digest
from homeground.index.embed import Embedder
from homeground.index.lexical import document_terms
from homeground.index.manifest import Manifest, StoredChunk
from homeground.index.settings import IndexSettings
from homeground.index.view import View

_CHUNKER_VERSION = "7"
_CONTENT_VERSION = "2"  # changes with what is embedded or counted as a term
_COMMIT_EVERY = 2048
_LOCK_WAIT_S = 60.0


@dataclass
class Scan:
    """What lies on disk now, compared with the manifest."""

    roots: list[Path]
    changed: dict[tuple[int, str], tuple[str, list[StoredChunk]]] = field(
        default_factory=dict[tuple[int, str], tuple[str, list[StoredChunk]]]
    )
    secrets: list[FoundSecret] = field(default_factory=list[FoundSecret])
    gone: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    skipped: Counter[str] = field(default_factory=Counter[str])
    files: int = 0


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Holds the index's lock: two processes never write the same index.

    Raises:
        HomegroundError: another process has held it for a minute.
    """
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


def scan(
    manifest: Manifest,
    corpus: Corpus,
    settings: IndexSettings,
    embedder: Embedder,
    progress: Progress,
) -> Scan:
    """Walks the corpus and cuts every new or changed file into chunks."""
    known = manifest.files()
    recipe = digest(_CHUNKER_VERSION, str(settings.max_tokens), embedder.revision)
    result = Scan(corpus.roots)
    bar = progress.bar("reading files")
    seen: set[tuple[int, str]] = set()
    for number, file in corpus:
        key = (number, file.path)
        hashed = digest(recipe, file.data)
        if known.get(key) != hashed:
            try:
                result.changed[key] = (hashed, _chunks(file, number, settings, embedder))
            except LeftOutError as error:
                corpus.leave_out(number, file.path, error.reason)
                continue
            result.secrets += [FoundSecret(file.path, one.line, one.kind) for one in file.text.secrets]
        seen.add(key)
        bar.advance(1)
    result.skipped = corpus.skipped
    result.files = len(seen)
    result.gone = [key for key in known if key not in seen]
    bar.done(f"{len(seen)} files, {len(result.changed)} of them new or changed")
    return result


def _chunks(file: SourceFile, root: int, settings: IndexSettings, embedder: Embedder) -> list[StoredChunk]:
    chunks = chunk_lines(
        file.path,
        file.text.lines,
        file.language,
        max_tokens=settings.max_tokens,
        count=embedder.count,
        sections=file.text.sections,
    )
    if root:  # the same path may exist below the first root
        chunks = [replace(chunk, id=digest(chunk.id, str(root))) for chunk in chunks]
    return [stored(chunk, embedder) for chunk in chunks]


def stored(chunk: Chunk, embedder: Embedder) -> StoredChunk:
    """The chunk with the key of its vector: text and embedder, so another embedder never reuses a vector."""
    return StoredChunk(chunk, digest(_CONTENT_VERSION, embedder.revision, chunk.content_hash))


def embed_missing(manifest: Manifest, chunks: Iterable[StoredChunk], embedder: Embedder, progress: Progress) -> int:
    """Embeds every content that has no vector yet, once; returns how many there were.

    Vectors are committed as they come: what a killed run has embedded is not embedded again.
    """
    known = manifest.known_contents()
    new = {one.content: one.chunk for one in chunks if one.content not in known}
    if not new:
        return 0
    keys = list(new)
    bar = progress.bar("embedding chunks", total=len(keys))
    waiting: list[tuple[str, NDArray[np.float32], str]] = []

    def flush() -> None:
        with manifest.transaction():
            manifest.put_contents(waiting)
        waiting.clear()

    def keep(positions: list[int], vectors: NDArray[np.float32]) -> None:
        for position, vector in zip(positions, vectors, strict=True):
            key = keys[position]
            chunk = new[key]
            waiting.append((key, vector, " ".join(document_terms(chunk.indexed_text, chunk.symbol))))
        if len(waiting) >= _COMMIT_EVERY:
            flush()
        bar.advance(len(positions))

    embedder.encode([new[key].indexed_text for key in keys], keep)
    flush()
    bar.done(f"{len(keys)} embedded")
    return len(keys)


def commit(manifest: Manifest, found: Scan, settings: IndexSettings) -> None:
    """Brings files and chunks of the manifest up to what the scan found, in one transaction."""
    with manifest.transaction():
        for root, path in found.gone:
            manifest.remove_file(root, path)
        for (root, path), (hashed, chunks) in found.changed.items():
            manifest.put_file(root, path, hashed, chunks)
        if found.changed or found.gone:
            manifest.forget_unused()
            manifest.put("generation", int(manifest.get("generation", 0)) + 1)
        manifest.put("roots", [str(root) for root in found.roots])
        manifest.put("settings", asdict(settings))


def current_view(folder: Path, manifest: Manifest, progress: Progress, like: Path | None = None) -> View:
    """The view of the manifest's generation; written first if it is missing or stale.

    The caller holds the lock, or knows that the view is current. `like` is a view to start from, else the last one.
    """
    generation = int(manifest.get("generation", 0))
    name = f"view-{generation}"
    last = manifest.get("view")
    if last == name:
        return View(folder / name)
    if like is None and last and (folder / last / "ids.json").is_file():
        like = folder / last
    bar = progress.bar("writing the index")
    view = View.write(folder / name, manifest, bar, like)
    manifest.put("view", name)
    bar.done(f"{len(view.ids)} chunks searchable")
    for old in folder.glob("view-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)
    return view
