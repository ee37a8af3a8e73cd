"""The searchable view of a manifest: ids, vectors and BM25 postings of all chunks, as arrays in one folder.

A view is written once, under a name of its own, and never changed afterwards: a reader keeps its view while a writer
makes the next. The next one starts from the last: what has not changed is copied as arrays, not computed again.

Dense search is exact: every vector is multiplied with the query's. With 27,780 chunks that is one product of 41 MB,
while opening Chroma takes longer than answering. From `exact_below` chunks on, and always on a server, Chroma answers
(see `chroma`), and only what it does not hold yet is multiplied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from homeground.base.progress import Bar
from homeground.index.chroma import ChromaView, DamagedError
from homeground.index.lexical import Lexicon, document_terms
from homeground.index.manifest import Manifest, Row

_ROWS_A_READ = 4096
_GONE_A_HIT = 10  # chunks that are gone may be among the nearest; so many more are asked for


class View:
    """An open view.

    Args:
        folder: a folder that `View.write` finished.

    Raises:
        OSError, ValueError: the folder is damaged; whoever holds the manifest can write it again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
        self.rows = list(map(Row._make, listed))
        self.ids = [row.id for row in self.rows]
        self.row = {key: row for row, key in enumerate(self.ids)}
        self._stored = np.load(folder / "vectors.npy", mmap_mode="r")
        self._lexicon = Lexicon.load(folder / "bm25")
        self._chroma: ChromaView | None = None
        if not len(self.ids) == len(self._stored) == len(self._lexicon.lengths):
            raise ValueError("the parts of the view are of different sizes")

    def answer_through(self, chroma: ChromaView) -> None:
        """Lets Chroma find the nearest vectors from now on."""
        self._chroma = chroma

    def close(self) -> None:
        """Lets go of Chroma's files, if they are open."""
        if self._chroma is not None:
            self._chroma.close()

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Unit vectors of all chunks in the order of `ids`, shape (chunks, dimension)."""
        return np.asarray(self._stored, dtype=np.float32)

    def cosines(self, rows: Sequence[int] | NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of the chunks in these rows with a unit vector, shape (rows,)."""
        return np.asarray(self.vectors[rows] @ vector, dtype=np.float32)

    def nearest(
        self, vector: NDArray[np.float32], count: int, among: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        """Cosine of the `count` chunks nearest to a unit vector, by chunk id.

        Args:
            vector: of the query, shape (dimension,).
            count: how many at most.
            among: only these rows; Chroma is not asked then.
        """
        if self._chroma is not None and among is None:
            try:
                return self._through_chroma(self._chroma, vector, count)
            except DamagedError:  # it marked itself as not finished: the next indexing run writes it again
                self._chroma = None
        rows = np.arange(len(self.ids)) if among is None else among
        return self._best(rows, self.vectors @ vector if among is None else self.cosines(rows, vector), count)

    def _best(self, rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> dict[str, float]:
        if not len(rows):
            return {}
        count = min(count, len(rows))
        top = np.argpartition(-scores, count - 1)[:count]
        top = top[np.argsort(-scores[top], kind="stable")]
        return {self.ids[rows[at]]: float(scores[at]) for at in top}

    def _through_chroma(self, chroma: ChromaView, vector: NDArray[np.float32], count: int) -> dict[str, float]:
        held = chroma.rows
        gone = len(held) + len(self._not_in_chroma) - len(self.rows)
        found = chroma.nearest(vector, count + min(gone, _GONE_A_HIT * count))
        found = {key: score for key, score in found.items() if key in self.row and self.rows[self.row[key]] in held}
        missing = self._not_in_chroma
        found |= self._best(missing, self.cosines(missing, vector), count)
        return dict(sorted(found.items(), key=lambda item: -item[1])[:count])

    @cached_property
    def _not_in_chroma(self) -> NDArray[np.int64]:
        held = self._chroma.rows if self._chroma is not None else frozenset[Row]()
        return np.array([at for at, row in enumerate(self.rows) if row not in held], dtype=np.int64)

    def lexical(self, query: str) -> NDArray[np.float32]:
        """BM25 score of every chunk, in the order of `ids`."""
        return self._lexicon.scores(query)

    @classmethod
    def write(cls, folder: Path, manifest: Manifest, bar: Bar, last: View | None = None) -> None:
        """Writes the view of everything in the manifest.

        Args:
            folder: where to; what lies there is deleted first.
            manifest: the truth.
            bar: advanced by the chunks that were put in place.
            last: an earlier view, which need not be of this manifest.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        rows = manifest.rows()
        before = {row: at for at, row in enumerate(last.rows)} if last is not None else {}
        fresh = [at for at, row in enumerate(rows) if row not in before]
        bar.expect(len(fresh))
        ids = [rows[at].id for at in fresh]
        stored = np.lib.format.open_memmap(
            folder / "vectors.npy", mode="w+", dtype=np.float16, shape=(len(rows), manifest.dimension())
        )
        moved_to = np.full(len(last.rows) if last is not None else 0, -1, dtype=np.int64)
        for at, row in enumerate(rows):
            if row in before:
                moved_to[before[row]] = at
        kept = np.flatnonzero(moved_to >= 0)
        if last is not None and len(kept):
            stored[moved_to[kept]] = last._stored[kept]
        for at in range(0, len(fresh), _ROWS_A_READ):
            some = ids[at : at + _ROWS_A_READ]
            vectors = manifest.vectors_of(some)
            stored[fresh[at : at + _ROWS_A_READ]] = [vectors[key] for key in some]
        stored.flush()
        words = _documents(manifest, ids, fresh, bar)
        lexicon = last._lexicon.updated(moved_to, words) if last is not None else Lexicon.build(w for _, w in words)
        lexicon.save(folder / "bm25")
        # Last: a folder without it was not finished.
        (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")


def _documents(manifest: Manifest, ids: list[str], rows: list[int], bar: Bar) -> Iterator[tuple[int, list[str]]]:
    for at in range(0, len(ids), _ROWS_A_READ):
        some = ids[at : at + _ROWS_A_READ]
        chunks = {chunk.id: chunk for chunk in manifest.chunks(some)}
        for key, row in zip(some, rows[at : at + _ROWS_A_READ], strict=True):
            yield row, document_terms(chunks[key].indexed_text, chunks[key].symbol)
        bar.advance(len(some))
