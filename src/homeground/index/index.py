"""`Index`: the one door to search."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from homeground.base.errors import HomegroundError, RestartNeededError
from homeground.base.progress import Progress
from homeground.corpus import Chunk, Corpus, digest, nfc
from homeground.corpus.config import CorpusConfig
from homeground.index.build import (
    IndexReport,
    announce,
    embed_missing,
    nothing_to_index,
    publish,
    scan,
    store_changed,
    stored,
    writing,
)
from homeground.index.config import ChromaConfig, IndexConfig, stored_config
from homeground.index.embed import SentenceEmbedder
from homeground.index.filters import Filters
from homeground.index.hit import Hit, Stage
from homeground.index.leftout import LeftOut
from homeground.index.manifest import ListedFile, Manifest, reporting
from homeground.index.protocols import Embedder, Reranker
from homeground.index.rerank import SentenceReranker
from homeground.index.search import Found, Searcher
from homeground.index.symbols import Symbols, open_symbols
from homeground.index.view import View
from homeground.index.views import current_view, delete_old_views, open_view, write_chroma, write_view

_MANIFEST = "manifest.sqlite"
_SYMBOLS = "symbols.sqlite"
_MOST_TRIES = 20
_LOOK_AGAIN_S = 0.01
_PUBLISHING_S = 1.0


class Index:
    """A searchable corpus on disk. Made by `build`, opened by `open`; searches may run in several threads.

    Attributes:
        folder: folder of the index.
        config: settings that it was built with.
        embedder: embedder of chunks and queries.
        reranker: reranker of the best hits, if there is one.

    Example:
        index, report = Index.build(folder, [Path("src")])
        for hit in index.search("parse an HTTP date"):
            print(hit.citation, hit.symbol)
    """

    def __init__(
        self, folder: Path, manifest: Manifest, view: View, embedder: Embedder, reranker: Reranker | None = None
    ) -> None:
        self.folder = folder
        self.config = stored_config(manifest.get("settings"))
        self._made_with = manifest.get("made_with")
        self._manifest = manifest
        self._view = view
        self.embedder = embedder
        self.reranker = reranker or (SentenceReranker(self.config.rerank) if self.config.rerank else None)
        self._symbols: Symbols | None = None
        self._lock = threading.RLock()

    @classmethod
    def build(
        cls,
        folder: Path,
        roots: Sequence[Path],
        config: IndexConfig = IndexConfig(),
        rules: CorpusConfig = CorpusConfig(),
        *,
        progress: Progress | None = None,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
    ) -> tuple[Self, IndexReport]:
        """Indexes the roots into `folder`, or brings the index there up to date.

        Files whose content has not changed are neither cut nor embedded again. A run that was killed leaves an index
        that a second run finishes, without embedding anything twice.

        Args:
            folder: of the index; created.
            roots: folders or files to index; what the index knows of other roots is forgotten.
            config: settings of the index.
            rules: which files of the roots are read.
            progress: where bars go; quiet if None.
            embedder: used instead of the model that `config.embedder` names.
            reranker: used instead of the model that `config.rerank` names.

        Raises:
            HomegroundError: a root does not exist, no file was left to index, the embedder cannot be loaded, another
                process writes this index, or a newer version wrote it.
        """
        began = time.perf_counter()
        progress = progress or Progress(quiet=True)
        corpus = Corpus(roots, rules)
        left_out = LeftOut()
        corpus.on_skip = left_out.note
        embedder = embedder or _named(config)
        config = config.model_copy(
            update={"embedder": embedder.name, "rerank": reranker.name if reranker is not None else config.rerank}
        )
        with writing(folder):
            manifest = Manifest(folder / _MANIFEST, create=True)
            found = scan(manifest, corpus, config, embedder, progress)
            if not found.files:
                raise nothing_to_index(corpus.roots, corpus.skipped)
            announce(manifest, found, config, embedder, progress)
            embedded = store_changed(manifest, corpus, found, config, embedder, progress)
            with manifest.transaction():  # readers see files, view and symbols of this run, or of the previous one
                publish(manifest, corpus, found, config, embedder)
                manifest.put("left_out", left_out.to_json())
                empty = not manifest.counts()[1]
                if not empty:
                    if current_view(folder, manifest, config.chroma) is None:
                        write_view(folder, manifest, progress)
                    symbols = Symbols(folder / _SYMBOLS)
                    symbols.update(manifest, progress)
                    symbols.close()
            manifest.vacuum()
            if empty:
                raise nothing_to_index(corpus.roots, corpus.skipped)
            delete_old_views(folder, manifest)
            view = open_view(folder, manifest, config.chroma, progress)
            write_chroma(folder, manifest, config.chroma, view, progress)
        files, total = manifest.counts()
        report = IndexReport(
            roots=[str(root) for root in corpus.roots],
            files=files,
            chunks=total,
            embedded=embedded,
            reused=total - embedded,
            skipped={str(reason): count for reason, count in sorted(corpus.skipped.items())},
            secrets=found.secrets,
            seconds=time.perf_counter() - began,
            changed=len(found.changed) + found.resumed,
            gone=len(found.gone),
        )
        return cls(folder, manifest, view, embedder, reranker), report

    @classmethod
    def open(cls, folder: Path, *, embedder: Embedder | None = None, reranker: Reranker | None = None) -> Self:
        """Open the index in `folder`; a missing or damaged view is written first.

        Args:
            folder: folder of the index.
            embedder: used instead of the model that the index names; the one that it was built with.
            reranker: used instead of the model that the index names, if any.

        Raises:
            HomegroundError: there is no index, it was never finished, a newer version wrote it, or it was built with
                another embedder.
        """
        with reporting(folder):
            manifest = Manifest(folder / _MANIFEST)
            if manifest.counts()[1] == 0:
                manifest.close()
                raise HomegroundError(
                    "the index is empty: its first run was not finished",
                    where=str(folder),
                    hint="run homeground index again; what was embedded is kept",
                )
            if manifest.get("base") is None and len(manifest.get("roots")) > 1:
                manifest.close()
                raise HomegroundError(
                    "the index was written by an older Homeground, which took equal paths below two roots for one",
                    where=str(folder),
                    hint="run homeground index again; nothing is embedded anew",
                )
            config = stored_config(manifest.get("settings"))
            made = manifest.get("made_with")
            if embedder is not None and (embedder.name, embedder.revision) != (made["embedder"], made["revision"]):
                manifest.close()
                raise HomegroundError(
                    f"the index was built with the embedder '{made['embedder']}' ({made['revision']}), "
                    f"not with '{embedder.name}' ({embedder.revision})",
                    where=str(folder),
                    hint="open it with that one, or build it again with this one",
                )
            view = current_view(folder, manifest, config.chroma)
            if view is None:
                with writing(folder):
                    view = open_view(folder, manifest, config.chroma, Progress(quiet=True))
        return cls(folder, manifest, view, embedder or _named(config), reranker)

    def close(self) -> None:
        """Lets go of all files."""
        if self._symbols is not None:
            self._symbols.close()
        self._view.close()
        self._manifest.close()

    def warm(self) -> Self:
        """Loads everything that the first search would load."""
        self.search("warm up")
        return self

    def refresh(self) -> bool:
        """Load what another process has indexed since; a running search finishes on the data it began with.

        Ranking settings stay as they were when this index was opened.

        Returns:
            True if anything was new.

        Raises:
            RestartNeededError: the index was rebuilt with another embedder or chunker.
            HomegroundError: the index was deleted, or holds nothing any more.
        """
        with self._lock, reporting(self.folder):
            replaced = self._manifest.replaced
            if replaced:
                manifest = Manifest(self.folder / _MANIFEST)
                self._manifest.close()
                self._manifest = manifest
            if self._manifest.get("made_with") != self._made_with:
                raise RestartNeededError(
                    "the index was made anew with another embedder or chunker while it was open",
                    where=str(self.folder),
                    hint="start this server again",
                )
            if replaced and self._symbols is not None:
                self._symbols.close()
                self._symbols = None
            if not replaced and self._view.folder.name == f"view-{self._manifest.generation}":
                return False
            if not self._manifest.counts()[1]:
                raise HomegroundError(
                    "the index is empty: its files are gone",
                    where=str(self.folder),
                    hint="run homeground index again, with a folder that has files",
                )
            view = current_view(self.folder, self._manifest, self.config.chroma)
            if view is None:
                return False
            self._view = view
        return True

    def at_newest[T](self, work: Callable[[], T]) -> T:
        """Run `work` on the newest published state: files, view and symbols come from one indexing run.

        Work is repeated if another run publishes in the meantime.

        Raises:
            RestartNeededError, HomegroundError: see `refresh`, and what `work` raises.
        """
        for _ in range(_MOST_TRIES):
            self._follow()
            before = self.snapshot
            try:
                done = work()
            except Exception:
                if self.snapshot == before:
                    raise
                continue
            if self.snapshot == before:
                return done
        raise HomegroundError(
            "the index changes faster than it is read", where=str(self.folder), hint="try again in a moment"
        )

    def _follow(self) -> None:
        """Load the newest published state; first finish what a killed run left incomplete."""
        deadline = time.monotonic() + _PUBLISHING_S
        while True:
            self.refresh()
            number = self._manifest.generation
            if self._view.folder.name == f"view-{number}" and self.symbols.generation == number:
                return
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_AGAIN_S)  # a run has published its symbols and will publish the rest soon
        with writing(self.folder):
            view = open_view(self.folder, self._manifest, self.config.chroma, Progress(quiet=True))
            self.symbols.update(self._manifest, Progress(quiet=True))
            self._view = view

    @property
    def snapshot(self) -> tuple[object, ...]:
        """A value that changes whenever search results may change."""
        with self._lock:
            return (id(self._manifest), self._manifest.generation, self._view.folder, self.symbols.generation)

    @property
    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        return [Path(root) for root in self._manifest.get("roots")]

    @property
    def base(self) -> Path:
        """What paths of hits are relative to: the root, or the nearest folder above all of several."""
        return Path(self._manifest.get("base") or self.roots[0])

    def resolve(self, path: str) -> Path:
        """The file on disk behind the path of a hit.

        Raises:
            HomegroundError: the index knows no such path.
        """
        known = {name for _, name in self._manifest.files()}
        if path in known:
            return self.base / path
        if (same := next((name for name in known if nfc(name) == nfc(path)), None)) is not None:
            return self.base / same
        raise HomegroundError(
            "the index knows no such file", where=path, hint="paths are relative to the indexed folder, as in hits"
        )

    def files(self) -> list[tuple[int, str]]:
        """Number of the root and path of every file, sorted."""
        return sorted(self._manifest.files())

    def listed(self) -> list[ListedFile]:
        """Every file with its language, size and number of chunks, ordered by root and path."""
        return self._manifest.listed()

    def left_out(self) -> LeftOut | None:
        """What the last indexing run did not read, and why; None where an older Homeground did not keep it."""
        kept = self._manifest.get("left_out")
        return None if kept is None else LeftOut.of(kept)

    def file_chunks(self, root: int, path: str) -> list[Chunk]:
        """The chunks of one file, in the order of their lines."""
        return self._manifest.file_chunks(root, path)

    @property
    def symbols(self) -> Symbols:
        """Definitions, calls and imports of the indexed files; outlined now where an indexing run did not."""
        with self._lock:
            if self._symbols is None:
                self._symbols = open_symbols(self.folder / _SYMBOLS, self._manifest)
            return self._symbols

    def chunks(self) -> list[Chunk]:
        """Every chunk, ordered by root, path and line."""
        return self._manifest.chunks()

    def search(
        self,
        query: str,
        k: int | None = None,
        *,
        filters: Filters | None = None,
        stages: Iterable[Stage] | None = None,
    ) -> list[Hit]:
        """The best hits for a query, best first, one for each symbol.

        Args:
            query: words, code or a name; only what the embedder can hold is read. Nothing is found for a blank query.
            k: how many; `top_k` of the index's settings if None.
            filters: what a hit must be; anything if None. They apply before ranking: k hits come back if they exist.
            stages: which of DENSE, LEXICAL, RERANK and SYMBOL may score; None takes all, RERANK where the settings
                name a reranker, SYMBOL where they say `exact_names`.

        Raises:
            UsageError: nothing in the index passes the filters.
        """
        return self.explain(query, k, filters=filters, stages=stages).hits

    def explain(
        self,
        query: str,
        k: int | None = None,
        *,
        filters: Filters | None = None,
        stages: Iterable[Stage] | None = None,
    ) -> Found:
        """What `search` does, with weights, candidates and the time of each stage."""
        k = self.config.top_k if k is None else k
        return self._searcher().search(query, k, filters or Filters(), stages)

    def candidates(self, query: str) -> dict[str, dict[str, float]]:
        """Scores by stage of every chunk that a search weighs, by chunk id; the fused score is among them."""
        return self._searcher().candidates(nfc(query))

    def _searcher(self) -> Searcher:
        return Searcher(self._manifest, self._view, self.embedder, self.reranker, self.config, lambda: self.symbols)

    def masked(self, folder: Path, replacements: Mapping[str, Chunk], progress: Progress | None = None) -> Index:
        """An index of the same corpus in which some chunks are replaced; this one is not touched.

        Only the replaced chunks are embedded. A folder that already holds this very view is opened as it is.

        Args:
            folder: of the new index.
            replacements: chunk that takes the place of the one with the given id.
            progress: where bars go; quiet if None.

        Raises:
            HomegroundError: an id is not in this index, or the folder is this index's own.
        """
        progress = progress or Progress(quiet=True)
        if folder.resolve() == self.folder.resolve():
            raise HomegroundError("a masked view needs a folder of its own", where=str(folder), hint="give another one")
        known = set(self._view.ids)
        if unknown := [key for key in replacements if key not in known]:
            raise HomegroundError(
                f"{len(unknown)} of the chunks to replace are not in this index",
                where=str(self.folder),
                hint="the index has changed since they were listed: list them again",
            )
        new = {key: stored(chunk, self.embedder) for key, chunk in replacements.items()}
        origin = digest(
            "\n".join(self._view.ids), *(f"{key} {one.chunk.id} {one.content}" for key, one in sorted(new.items()))
        )
        exact = self.config.model_copy(update={"chroma": ChromaConfig()}).model_dump()
        with writing(folder):
            path = folder / _MANIFEST
            number, kept = 0, []
            if path.is_file():
                manifest = Manifest(path)
                if manifest.get("origin") == origin:
                    manifest.put("settings", exact)
                    view = open_view(folder, manifest, ChromaConfig(), progress)
                    return type(self)(folder, manifest, view, self.embedder, self.reranker)
                number = int(manifest.get("generation"))
                kept = manifest.contents([one.content for one in new.values()])
                manifest.close()
            self._manifest.copy_to(path)
            manifest = Manifest(path)
            with manifest.transaction():
                manifest.put_contents(kept)
            bar = progress.bar("embedding chunks")
            count = embed_missing(manifest, list(new.values()), self.embedder, bar.advance)
            bar.done(f"{count} embedded")
            with manifest.transaction():
                for key, one in new.items():
                    manifest.replace_chunk(key, one)
                manifest.put("origin", origin)
                manifest.put("generation", number + 1)
                manifest.put("view", None)
                manifest.put("settings", exact)
            write_view(folder, manifest, progress, last=self._view)
            delete_old_views(folder, manifest)
            view = open_view(folder, manifest, ChromaConfig(), progress)
        return type(self)(folder, manifest, view, self.embedder, self.reranker)


def _named(config: IndexConfig) -> Embedder:
    return SentenceEmbedder(config.embedder, config.max_tokens, config.backend)
