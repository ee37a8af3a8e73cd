"""Which files of a folder belong to the corpus.

Who decides, first to last: `include` (the caller's: always read), `.homegroundignore`, git's ignore rules, `exclude`
(the caller's, and what is never source of one's own), and then what the file holds. Every file that is left out is
counted under its reason, so an empty index can explain itself. Links are not followed: what they lead to inside the
root is met on its own way, and what lies outside does not belong here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from homeground.base.errors import HomegroundError, UsageError
from homeground.corpus.config import CorpusConfig
from homeground.corpus.encoding import nfc, unreadable
from homeground.corpus.generated import written_by_a_program
from homeground.corpus.ignore import ATTRIBUTES_FILE, GIT_FILE, LONGEST_PATTERN, OWN_FILE, IgnoreRules, Patterns
from homeground.corpus.languages import HEAD_BYTES, Language, language_of, language_of_head
from homeground.corpus.reading import (
    DOCUMENTS,
    SourceFile,
    most_bytes,
    read_bytes,
    read_head,
)
from homeground.corpus.skip import LeftOutError, Skip

DEFAULT_EXCLUDES: tuple[str, ...] = (
    ".git", ".hg/", ".svn/", ".homeground/", "__pycache__/", "node_modules/", "site-packages/", "dist-packages/",
    ".venv/", "venv/", ".tox/", ".nox/", ".eggs/", "*.egg-info/", ".mypy_cache/", ".ruff_cache/", ".pytest_cache/",
    ".hypothesis/", ".ipynb_checkpoints/", "homeground.yaml",
)  # fmt: skip
"""Never source of one's own: version control, environments, caches and the recipe."""

_BY_NAME: tuple[tuple[Skip, tuple[str, ...]], ...] = (
    (Skip.LOCK_FILE, (
        "*.lock", "*-lock.json", "*-lock.yaml", "*.lockb", "*.lockfile", "npm-shrinkwrap.json", "go.sum",
        "Package.resolved", "*.lock.hcl", "gradle.lockfile",
    )),
    (Skip.MINIFIED, ("*.min.js", "*.min.css", "*.min.mjs", "*.bundle.js", "*.chunk.js")),
    (Skip.GENERATED, (
        "*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.pb.go", "*.pb.gw.go", "*.pb.cc", "*.pb.h", "*.pb.rs", "*_pb.js",
        "*_pb.ts", "*_pb.d.ts", "*.pb.swift", "*.g.dart", "*.freezed.dart", "*.designer.cs", "*.g.cs",
        "*.generated.*", "*_generated.go", "zz_generated.*", "*.feature.cs", "*.zep.c", "*.zep.h", ".pnp.*",
    )),
)  # fmt: skip
_RULE_FILES = (GIT_FILE, OWN_FILE, ATTRIBUTES_FILE)


@dataclass(slots=True)
class _Folder:
    """A folder that is being read: what is left of it, and the rules for its entries."""

    entries: Iterator[os.DirEntry[str]]
    prefix: str
    rules: IgnoreRules
    only: frozenset[str] | None  # ignored, but entered for these files and those of `include`


@dataclass
class Walk:
    """Iterates over the source files below `root`, in a fixed order, and counts the skipped files.

    Args:
        root: an existing folder, or one file of it, which no rule then skips.
        rules: which files are read. `exclude` holds globs in gitignore syntax, relative to the root, on top of
            `DEFAULT_EXCLUDES`; `include` those of files to read although a rule, their name or a mark of generated
            code would skip them. A glob of a folder enters it; the rules still apply below it. An ignored folder is
            entered only if a glob spells out the path to it.
        on_skip: called with path and reason of each skipped entry; a folder's path ends in "/".

    Raises:
        HomegroundError: the root does not exist or may not be read.
        UsageError: a glob is too long.
    """

    root: Path
    rules: CorpusConfig = CorpusConfig()
    on_skip: Callable[[str, Skip], None] | None = None
    skipped: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        exclude, include = self.rules.exclude, self.rules.include
        given = self.root.expanduser().resolve()
        if not given.exists():
            raise HomegroundError(
                "the folder to index does not exist",
                where=str(given),
                hint="give an existing folder, for example: homeground index src/",
            )
        self.only = given.name if not given.is_dir() else None
        self.root = given.parent if self.only is not None else given
        if not os.access(given, os.R_OK if self.only is not None else os.R_OK | os.X_OK):
            raise HomegroundError(
                "what is to be indexed may not be read",
                where=str(given),
                hint="get permission to read it, or index another folder",
            )
        if (longest := max((*exclude, *include), key=len, default="")) and len(longest) > LONGEST_PATTERN:
            raise UsageError(
                f"a pattern has {len(longest):,} characters",
                where="corpus.include or corpus.exclude",
                hint=f"give at most {LONGEST_PATTERN:,}; this one begins with {longest[:40]!r}",
            )
        self._exclude = Patterns.of_ignore_file([*DEFAULT_EXCLUDES, *map(nfc, exclude)])
        self._include = _Forced(tuple(map(nfc, include)))

    def __iter__(self) -> Iterator[SourceFile]:
        if self.only is not None:
            yield from self._read(self.root / self.only, self.only, IgnoreRules(), forced=True)
            return
        folders = [self._enter("", IgnoreRules.above(self.root), only=None)]
        while folders:  # no recursion: folders nest deeper than Python's stack
            folder = folders[-1]
            entry = next(folder.entries, None)
            if entry is None:
                folders.pop()
            elif entry.is_symlink():
                self._link(folder.prefix + entry.name, entry)
            elif entry.is_dir(follow_symlinks=False):
                if (entered := self._subfolder(folder, folder.prefix + entry.name)) is not None:
                    folders.append(entered)
            elif entry.name not in _RULE_FILES:
                yield from self._plain(folder, folder.prefix + entry.name)

    def _skip(self, path: str, reason: Skip) -> None:
        self.skipped[reason] += 1
        if self.on_skip is not None:
            self.on_skip(path, reason)

    def _enter(self, prefix: str, rules: IgnoreRules, *, only: frozenset[str] | None) -> _Folder:
        folder = self.root / prefix
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            self._skip(prefix, Skip.UNREADABLE)
            return _Folder(iter(()), prefix, rules, only)
        rules = rules.entering(folder, prefix, frozenset(entry.name for entry in entries))
        return _Folder(iter(entries), prefix, rules, only)

    def _subfolder(self, folder: _Folder, path: str) -> _Folder | None:
        reason = self._ruled_out(folder, path, is_folder=True)
        if reason is None:
            return self._enter(path + "/", folder.rules, only=None)
        only = folder.rules.tracked if folder.only is None else folder.only
        by_git = not folder.rules.own_verdict(path, is_folder=True) and not self._exclude.verdict(path, is_folder=True)
        if (path in only and by_git) or self._include.leads_below(path):
            return self._enter(path + "/", folder.rules, only=only if by_git else frozenset())
        self._skip(path + "/", reason)
        return None

    def _plain(self, folder: _Folder, path: str) -> Iterator[SourceFile]:
        forced = self._include.names(path, is_folder=False)
        reason = None if forced else self._ruled_out(folder, path, is_folder=False)
        if reason is not None:
            self._skip(path, reason)
        else:
            yield from self._read(self.root / path, path, folder.rules, forced=forced)

    def _ruled_out(self, folder: _Folder, path: str, *, is_folder: bool) -> Skip | None:
        if self._include.names(path, is_folder=is_folder):
            return None
        if folder.only is not None and (is_folder or path not in folder.only):
            return Skip.IGNORED
        verdict = folder.rules.own_verdict(path, is_folder=is_folder)
        if verdict is None:
            verdict = folder.rules.git_ignores(path, is_folder=is_folder)
        if verdict:
            return Skip.IGNORED
        return Skip.EXCLUDED if self._exclude.verdict(nfc(path), is_folder=is_folder) else None

    def _link(self, path: str, entry: os.DirEntry[str]) -> None:
        try:
            inside = Path(entry.path).resolve(strict=True).is_relative_to(self.root)
            self._skip(path, Skip.LINK if inside else Skip.OUTSIDE)
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            self._skip(path, Skip.UNREADABLE)

    def _read(self, file: Path, path: str, rules: IgnoreRules, *, forced: bool) -> Iterator[SourceFile]:
        try:
            path.encode()  # a name that is no UTF-8 has no place in an index
            if not forced and (reason := _by_name(path)) is not None:
                raise LeftOutError(reason)
            language = _language(file, path) or (Language("text") if forced else None)
            if language is None:
                raise LeftOutError(Skip.UNSUPPORTED)
            if not forced and rules.generated(path):
                raise LeftOutError(Skip.GENERATED)
            data = read_bytes(file, most_bytes(language, self.rules))
            if (reason := _unwanted(data, language, forced=forced)) is not None:
                raise LeftOutError(reason)
        except LeftOutError as error:
            self._skip(path, error.reason)
        except (OSError, UnicodeEncodeError):
            self._skip(path, Skip.UNREADABLE)
        else:
            yield SourceFile(self.root, path, language, data)


class _Forced:
    """The caller's `include` globs."""

    def __init__(self, globs: tuple[str, ...]) -> None:
        self._patterns = Patterns.of_ignore_file(globs)
        self._ways = [way for glob in globs if (way := _way(glob))]

    def names(self, path: str, *, is_folder: bool) -> bool:
        return bool(self._patterns.verdict(nfc(path), is_folder=is_folder))

    def leads_below(self, path: str) -> bool:
        """Whether a glob spells out a way that leads into the folder."""
        parts = nfc(path).split("/")
        return any(
            parts[: len(way)] == way[: len(parts)] and (len(parts) <= len(way) or wild) for way, wild in self._ways
        )


def _way(glob: str) -> tuple[list[str], bool] | None:
    """(folders that a glob spells out, whether wildcards for folders follow), or None for a glob that spells none."""
    folders = glob.lstrip("/").rstrip("/").split("/")[:-1]
    plain = next((at for at, folder in enumerate(folders) if any(mark in folder for mark in "*?[\\")), len(folders))
    return (folders[:plain], plain < len(folders)) if plain else None


_NAMES = tuple((reason, Patterns.of_ignore_file(globs)) for reason, globs in _BY_NAME)


def _by_name(path: str) -> Skip | None:
    name = path.rpartition("/")[2]
    return next((reason for reason, patterns in _NAMES if patterns.verdict(name, is_folder=False)), None)


def _language(file: Path, path: str) -> Language | None:
    """Language by the file's name, or by its first bytes if it has no suffix or is executable."""
    found = language_of(path)
    if found is None and (not PurePosixPath(path).suffix or os.access(file, os.X_OK)):
        return language_of_head(read_head(file, HEAD_BYTES))
    return found


def _unwanted(data: bytes, language: Language, *, forced: bool) -> Skip | None:
    """Reason to leave out a file with this content, or None."""
    if not data.strip():
        return Skip.EMPTY
    if language.name in DOCUMENTS:
        return None
    if (reason := unreadable(data)) is not None:
        return reason
    return None if forced else written_by_a_program(data, language)
