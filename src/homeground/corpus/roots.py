"""Several roots as one corpus: every file is in it once, under one path, however the roots lie to each other.

The standard library of the running Python is a root that everybody has.
"""

from __future__ import annotations

import functools
import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from homeground.base.errors import HomegroundError
from homeground.corpus.config import CorpusConfig
from homeground.corpus.reading import SourceFile
from homeground.corpus.skip import Skip
from homeground.corpus.walk import Walk


class Corpus:
    """Iterates over (number of its root, file) of several folders or files, and counts what it leaves out.

    A root named twice counts once. Where roots overlap, a file belongs to the first that reaches it. The numbers are
    those of `roots`. Paths are relative to `base`: the root, or the nearest folder above all of several, so that
    `a/README.md` is not taken for `b/README.md`.

    Args:
        roots: folders or files.
        rules: which of their files are read; its own `roots` do not count here.
        on_skip: called with root, path below it and reason.

    Raises:
        HomegroundError: a root does not exist or may not be read.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        rules: CorpusConfig = CorpusConfig(),
        *,
        on_skip: Callable[[Path, str, Skip], None] | None = None,
    ) -> None:
        walks: dict[tuple[Path, str | None], Walk] = {}
        for root in roots:
            walk = Walk(root, rules)
            walks.setdefault((walk.root, walk.only), walk)
        self._walks = list(walks.values())
        self.on_skip = on_skip
        for number, walk in enumerate(self._walks):
            walk.on_skip = functools.partial(self.leave_out, number)
        self.roots = [walk.root for walk in self._walks]
        self.base = Path(os.path.commonpath(self.roots)) if self.roots else Path.cwd()
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[int, SourceFile]]:
        seen: set[Path] | None = set() if self._overlap() else None
        for number, walk in enumerate(self._walks):
            for file in walk:
                if seen is not None:
                    place = file.root / file.path
                    if place in seen:
                        self.leave_out(number, file.path, Skip.DUPLICATE)
                        continue
                    seen.add(place)
                yield number, replace(file, root=self.base, path=below(self.base, walk.root) + file.path)

    def leave_out(self, number: int, path: str, reason: Skip) -> None:
        """Counts a file that is not read, or that a reader of this corpus had to give up; `path` is below its root."""
        self.skipped[reason] += 1
        if self.on_skip is not None:
            self.on_skip(self.roots[number], path, reason)

    def _overlap(self) -> bool:
        return any(
            one.root.is_relative_to(other.root) for one in self._walks for other in self._walks if one is not other
        )


def below(base: Path, root: Path) -> str:
    """What stands before a path that is relative to the root to make it relative to the base: "" or "src/"."""
    return "" if root == base else f"{root.relative_to(base).as_posix()}/"


STDLIB_EXCLUDES: tuple[str, ...] = (
    "test/", "tests/", "idle_test/", "lib2to3/", "turtledemo/", "pydoc_data/", "ensurepip/_bundled/", "lib-dynload/",
    "config-*/", "_sysconfigdata_*", "__phello__/",
)  # fmt: skip
"""Tests, demonstrations, build leftovers and tables: nothing that anyone looks up."""


def stdlib_root() -> Path:
    """Folder of the running interpreter's standard library.

    Raises:
        HomegroundError: this Python carries no source files (a frozen or zipped build).
    """
    root = Path(sysconfig.get_paths()["stdlib"]).resolve()
    if not (root / "os.py").is_file():
        raise HomegroundError(
            "this Python has its standard library without source files",
            where=str(root),
            hint="use a Python from python.org, pyenv, uv or the system, or index a folder of your own",
        )
    return root
