"""Git's ignore rules, evaluated as git does: entry by entry, from the top folder down.

pathspec converts a pattern to a regular expression, and RE2 matches it. This module adds the rest. A pattern applies to
the entry that it matches, not to the entries below it. The nearest `.gitignore` with a matching pattern decides, then
`.git/info/exclude`, then the file that `core.excludesFile` names. A nested repository starts without outer rules. A
tracked file is never ignored. `.homegroundignore` has the same syntax and locations, and takes precedence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import re2
from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from homeground.base.errors import HomegroundError
from homeground.corpus.git import Repository

GIT_FILE = ".gitignore"
OWN_FILE = ".homegroundignore"
ATTRIBUTES_FILE = ".gitattributes"

LONGEST_PATTERN = 1024
"""Longest pattern, in characters: a name has at most 255."""
_BELOW = b"(?:(?P<ps_d>/)|$)"  # how pathspec ends a pattern that also speaks of what lies below a folder
_NEGATED = re.compile(rb"(?<!\\)\[\^(?!/\])(\]?)")
_STRIPPED = b"\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0"
_FOLDER, _FILE = b"d", b"f"  # prefixes of the matched path
_NEVER = rb"[^\x00-\xff]"
_SET_BYTES = 512  # combined, many patterns have far more states than each alone
_LONGEST_FILE = 1 << 18
_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.dot_nl = True
_OPTIONS.log_errors = False
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 1 << 20


class Patterns:
    r"""The patterns of one file, and the last of them that matches a path.

    Paths and patterns are compared byte by byte, as git does. RE2 matches any pattern in time linear in the length of
    the path. A pattern of more than 1024 characters matches nothing.

    Args:
        rules: (pattern, verdict), in the order of the file. A pattern has no leading "!"; the verdict is false instead,
            as in ("build/", True), ("keep.py", False).
    """

    def __init__(self, rules: Iterable[tuple[str, bool]]) -> None:
        self._says: list[bool] = []
        expressions: list[bytes] = []
        for pattern, says in rules:
            self._says.append(says)
            expressions.append(_expression(pattern))
        self._sets = list(_sets(expressions))

    @classmethod
    def of_ignore_file(cls, lines: Iterable[str]) -> Patterns:
        """Patterns of a file in the syntax of `.gitignore`."""
        return cls(
            (line[1:], False) if line.startswith("!") else (line, True) for line in lines if not line.startswith("#")
        )

    @classmethod
    def of_attributes(cls, lines: Iterable[str], attribute: str) -> Patterns:
        """Which files have an attribute set, from the lines of a `.gitattributes`."""
        return cls(_attribute_rules(lines, attribute))

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """What the last line that matches the path says; None where none does. No "/" at the path's end."""
        last = max(self.matching(path, is_folder=is_folder), default=None)
        return None if last is None else self._says[last]

    def covers(self, path: str) -> bool:
        """True when the patterns leave out the file or a folder above it."""
        folders = [path[:at] for at, letter in enumerate(path) if letter == "/"]
        return any(self.verdict(folder, is_folder=True) for folder in folders) or bool(
            self.verdict(path, is_folder=False)
        )

    def matching(self, path: str, *, is_folder: bool) -> list[int]:
        """Numbers of all patterns that match the path."""
        text = (_FOLDER if is_folder else _FILE) + os.fsencode(path)
        found: list[int] = []
        for first, count, expressions in self._sets:
            matched: list[int] | None = expressions.Match(text)
            if matched is None:  # RE2 fails silently
                raise HomegroundError(
                    "the patterns need too much memory", where=path, hint="use fewer or shorter patterns"
                )
            found += [first + number for number in matched if number < count]
        return found


def _sets(expressions: Sequence[bytes]) -> Iterator[tuple[int, int, re2.Set]]:
    """Group the expressions into sets of bounded size, each with its first number and its length.

    Each set has one more expression that matches everything, so a set without a match has run out of memory.
    """
    at = 0
    while at < len(expressions):
        first, size, made = at, 0, re2.Set.MatchSet(_OPTIONS)
        while at < len(expressions) and (at == first or size + len(expressions[at]) <= _SET_BYTES):
            try:
                made.Add(expressions[at])
            except re2.error:
                made.Add(_NEVER)  # git lets such a line match nothing, too
            size += len(expressions[at])
            at += 1
        made.Add(b"")
        made.Compile()
        yield first, at - first, made


def _expression(pattern: str) -> bytes:
    """Regular expression for `_FOLDER` or `_FILE` and the whole path; it matches nothing if there is no pattern."""
    trimmed = re.sub(r"(?<!\\) +\Z", "", pattern)
    mark = _FOLDER if trimmed.endswith("/") else b"[" + _FOLDER + _FILE + b"]"
    trimmed = trimmed.removesuffix("/")
    if not trimmed or trimmed.endswith("/") or trimmed.isspace() or len(trimmed) > LONGEST_PATTERN:
        return _NEVER
    if trimmed[0] in "!#":
        trimmed = "\\" + trimmed
    try:
        glob = os.fsencode(trimmed)
        if glob[-1] in _STRIPPED and not glob.endswith(b"\\ "):
            glob = glob[:-1] + b"[" + glob[-1:] + b"]"  # pathspec would strip bytes that are spaces in Latin-1
        found, _ = GitIgnoreSpecPattern.pattern_to_regex(glob)
        if found is None:
            return _NEVER
        # pathspec does not support [[:alpha:]] and lets [!a] match a slash.
        found = _NEGATED.sub(lambda match: b"[^/" + match[1].replace(b"]", rb"\]"), found).replace(rb":]\]", b":]]")
        body = found[1:] if found.startswith(b"^") else b".*" + found
        return mark + body.replace(_BELOW, rb"\z")
    except (GitIgnorePatternError, UnicodeEncodeError):
        return _NEVER


def _attribute_rules(lines: Iterable[str], attribute: str) -> Iterator[tuple[str, bool]]:
    for line in lines:
        words = line.split()
        if len(words) < 2 or line.startswith(("#", "[attr]", "!")):
            continue
        pattern = words[0].strip('"')
        for word in words[1:]:
            name, _, value = word.lstrip("-!").partition("=")
            if name == attribute:
                yield pattern, not word.startswith(("-", "!")) and value.lower() not in ("false", "0", "no")


@dataclass(frozen=True)
class _Level:
    """Patterns of one folder: they speak of paths relative to it."""

    patterns: Patterns
    above: str  # from that folder down to the walked root, "" or with a final "/"
    prefix: str  # from the walked root down to that folder, "" or with a final "/"

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        return self.patterns.verdict(self.above + path[len(self.prefix) :], is_folder=is_folder)


@dataclass(frozen=True)
class IgnoreRules:
    """The rules that hold for the entries of one folder of a walk. Paths are relative to the walk's root."""

    _own: tuple[_Level, ...] = ()
    _git: tuple[_Level, ...] = ()
    _generated: tuple[_Level, ...] = ()
    tracked: frozenset[str] = field(default=frozenset())
    """Files that git tracks, which git's patterns never ignore, and their parent folders."""

    @classmethod
    def above(cls, root: Path) -> IgnoreRules:
        """The rules that reach a root from the folders above it, up to the top of its repository."""
        repository = Repository.around(root)
        if repository is None:
            return cls()
        top = repository.top
        rules = cls()._in_repository(repository, _below(top, root), "")
        for folder in reversed(root.parents[: len(root.relative_to(top).parts)]):
            names = frozenset(file.name for file in folder.iterdir())
            rules = rules._with_files(folder, _below(folder, root), "", names)
        return replace(rules, tracked=_tracked(repository, _below(top, root)))

    def entering(self, folder: Path, prefix: str, names: frozenset[str]) -> IgnoreRules:
        """The rules for the entries of a folder.

        Args:
            folder: where it is.
            prefix: its path below the root, "" or with a final "/".
            names: of its entries.
        """
        rules = self
        if prefix and ".git" in names and (repository := Repository.at(folder)) is not None:
            rules = replace(self, _git=(), _generated=())._in_repository(repository, "", prefix)
            rules = replace(rules, tracked=frozenset(prefix + path for path in _tracked(repository)))
        return rules._with_files(folder, "", prefix, names)

    def own_verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """What `.homegroundignore` says of an entry: True to leave it out, False to read it, or nothing."""
        return _nearest(self._own, path, is_folder=is_folder)

    def git_ignores(self, path: str, *, is_folder: bool) -> bool:
        """Whether git would ignore the entry. Its folder is taken to be one that git enters."""
        return bool(_nearest(self._git, path, is_folder=is_folder)) and (is_folder or path not in self.tracked)

    def generated(self, path: str) -> bool:
        """Whether `.gitattributes` calls the file `linguist-generated`."""
        return bool(_nearest(self._generated, path, is_folder=False))

    def _with_files(self, folder: Path, above: str, prefix: str, names: frozenset[str]) -> IgnoreRules:
        def nearest(name: str, levels: tuple[_Level, ...]) -> tuple[_Level, ...]:
            if name not in names:
                return levels
            lines = _lines(folder / name)
            of_attributes = name == ATTRIBUTES_FILE
            patterns = (
                Patterns.of_attributes(lines, "linguist-generated") if of_attributes else Patterns.of_ignore_file(lines)
            )
            return (_Level(patterns, above, prefix), *levels)

        if names.isdisjoint((GIT_FILE, OWN_FILE, ATTRIBUTES_FILE)):
            return self
        return replace(
            self,
            _own=nearest(OWN_FILE, self._own),
            _git=nearest(GIT_FILE, self._git),
            _generated=nearest(ATTRIBUTES_FILE, self._generated),
        )

    def _in_repository(self, repository: Repository, above: str, prefix: str) -> IgnoreRules:
        files = (repository.common / "info" / "exclude", _global_excludes(repository))
        levels = (_Level(Patterns.of_ignore_file(_lines(file)), above, prefix) for file in files if file is not None)
        return replace(self, _git=tuple(levels))


def _nearest(levels: Sequence[_Level], path: str, *, is_folder: bool) -> bool | None:
    for level in levels:
        if (verdict := level.verdict(path, is_folder=is_folder)) is not None:
            return verdict
    return None


def _below(top: Path, root: Path) -> str:
    path = root.relative_to(top).as_posix()
    return "" if path == "." else path + "/"


def _lines(file: Path) -> list[str]:
    """Lines as git reads them: only a line feed ends one, and one carriage return before it is dropped."""
    try:
        if not file.is_file():  # a pipe of that name would never end
            return []
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_FILE).decode("utf-8-sig", errors="surrogateescape")
    except OSError:
        return []
    return [line.removesuffix("\r") for line in text.split("\n")]


def _global_excludes(repository: Repository) -> Path | None:
    if told := repository.excludes_file():
        return Path(repository.top, told)
    try:
        settings = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    except RuntimeError:  # nobody's home
        return None
    return Path(settings) / "git" / "ignore"


def _tracked(repository: Repository, prefix: str = "") -> frozenset[str]:
    """Tracked paths below a prefix ("" or with a final "/") and their parent folders, relative to the prefix."""
    found: set[str] = set()
    for tracked in repository.tracked():
        path = tracked.removeprefix(prefix) if tracked.startswith(prefix) else ""
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return frozenset(found)
