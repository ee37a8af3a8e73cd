"""Which files of a folder belong to the corpus.

Git's ignore rules decide first (every `.gitignore` on the way down, the deepest match wins, an ignored
folder is not entered), then `.homegroundignore` with the same syntax, then the caller's exclude globs.
Every file that is left out is counted under its reason, so an empty index can explain itself.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pathspec import GitIgnoreSpec

from homeground.base.errors import HomegroundError
from homeground.corpus.languages import Language, language_of

DEFAULT_EXCLUDES: tuple[str, ...] = (
    ".git/", ".hg/", ".svn/", ".homeground/", "__pycache__/", "node_modules/", "site-packages/", "dist-packages/",
    ".venv/", "venv/", ".tox/", ".nox/", ".eggs/", "*.egg-info/", ".mypy_cache/", ".ruff_cache/", ".pytest_cache/",
    ".hypothesis/", ".ipynb_checkpoints/", "*.min.js", "*.bundle.js", "poetry.lock", "uv.lock", "package-lock.json",
    "yarn.lock", "pnpm-lock.yaml", "Cargo.lock",
)  # fmt: skip
"""Never source of one's own: version control, environments, caches, bundles and lock files."""

_IGNORE_FILES = (".gitignore", ".homegroundignore")
_GENERATED = re.compile(
    rb"@generated|DO NOT (?:EDIT|MODIFY)|auto-?(?:matically )?generated|\bgenerated (?:by|from) ['\"\w./-]+",
    re.IGNORECASE,
)
_SNIFF_BYTES = 8192
_GENERATED_BYTES = 600
_LONG_LINE = 5000


class Skip(StrEnum):
    """Why a file is not in the corpus."""

    IGNORED = "ignored"
    EXCLUDED = "excluded"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too-large"
    BINARY = "binary"
    MINIFIED = "minified"
    GENERATED = "generated"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    OUTSIDE = "outside-root"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be indexed: its root, its posix path below that root, its language and its bytes."""

    root: Path
    path: str
    language: Language
    data: bytes

    def lines(self) -> list[str]:
        r"""Source lines without terminators; \r\n, \n and \r all end a line, as editors and Python count."""
        text = self.data.decode("utf-8-sig", errors="replace")
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


@dataclass
class Walk:
    """Iterates over the source files below `root`, in a fixed order, and counts what it leaves out.

    Args:
        root: an existing folder, or one file of it.
        exclude: globs in gitignore syntax, relative to the root, applied on top of `DEFAULT_EXCLUDES`.
        max_bytes: larger files are skipped.

    Raises:
        HomegroundError: the root does not exist or may not be read.
    """

    root: Path
    exclude: Iterable[str] = ()
    max_bytes: int = 512 * 1024
    skipped: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        given = self.root.expanduser().resolve()
        if not given.exists():
            raise HomegroundError(
                "the folder to index does not exist",
                where=str(given),
                hint="give an existing folder, for example: homeground index src/",
            )
        self._only = given.name if given.is_file() else None
        self.root = given.parent if given.is_file() else given
        if not os.access(given, os.R_OK if given.is_file() else os.R_OK | os.X_OK):
            raise HomegroundError(
                "what is to be indexed may not be read",
                where=str(given),
                hint="get permission to read it, or index another folder",
            )
        self._exclude = GitIgnoreSpec.from_lines([*DEFAULT_EXCLUDES, *self.exclude])

    def __iter__(self) -> Iterator[SourceFile]:
        yield from self._folder(self.root, "", ())

    def _folder(self, folder: Path, prefix: str, specs: tuple[tuple[str, GitIgnoreSpec], ...]) -> Iterator[SourceFile]:
        specs = (*specs, *_ignore_rules(folder, prefix))
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self.skipped[Skip.UNREADABLE] += 1
            return
        for entry in entries:
            if self._only is not None and entry.name != self._only:
                continue
            if entry.name in _IGNORE_FILES:
                continue
            path = prefix + entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if (reason := self._ruled_out(path + "/" if is_folder else path, specs)) is not None:
                self.skipped[reason] += 1
            elif is_folder:
                yield from self._folder(folder / entry.name, path + "/", specs)
            else:
                source = self._file(entry, path)
                if isinstance(source, Skip):
                    self.skipped[source] += 1
                else:
                    yield source

    def _ruled_out(self, path: str, specs: tuple[tuple[str, GitIgnoreSpec], ...]) -> Skip | None:
        for prefix, spec in reversed(specs):
            verdict = spec.check_file(path[len(prefix) :]).include
            if verdict:
                return Skip.IGNORED
            if verdict is False:
                break
        return Skip.EXCLUDED if self._exclude.match_file(path) else None

    def _file(self, entry: os.DirEntry[str], path: str) -> SourceFile | Skip:
        language = language_of(path)
        if language is None:
            return Skip.UNSUPPORTED
        try:
            path.encode()  # a name that is no UTF-8 has no place in an index
            if entry.is_symlink():
                target = Path(entry.path).resolve()
                if not target.is_relative_to(self.root):
                    return Skip.OUTSIDE
                if target.is_dir():
                    return Skip.IGNORED
            if not entry.is_file():
                return Skip.UNREADABLE
            size = entry.stat().st_size
            if size > self.max_bytes:
                return Skip.TOO_LARGE
            data = Path(entry.path).read_bytes()
        except (OSError, RuntimeError, UnicodeEncodeError):
            return Skip.UNREADABLE
        reason = _unwanted(data)
        return reason if reason is not None else SourceFile(self.root, path, language, data)


def _ignore_rules(folder: Path, prefix: str) -> Iterator[tuple[str, GitIgnoreSpec]]:
    for name in _IGNORE_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        yield prefix, GitIgnoreSpec.from_lines(text.splitlines())


def _unwanted(data: bytes) -> Skip | None:
    """Reason to leave out a file with this content, or None."""
    if not data.strip():
        return Skip.EMPTY
    if b"\0" in data[:_SNIFF_BYTES]:
        return Skip.BINARY
    if max(map(len, data.split(b"\n"))) > _LONG_LINE and data.count(b"\n") < len(data) / 500:
        return Skip.MINIFIED
    if _GENERATED.search(data[:_GENERATED_BYTES]):
        return Skip.GENERATED
    return None
