"""Git's ignore rules, decided the way git decides them: entry by entry, from the top folder down.

pathspec knows how a pattern reads as a regular expression. What it leaves to others is done here: a pattern speaks of
the entry that it matches and not of what lies below it, the nearest `.gitignore` that says anything decides, then
`.git/info/exclude`, then the file that `core.excludesFile` names; a nested repository starts afresh; and a file that
is tracked is never ignored. `.homegroundignore` has the same syntax, is looked for in the same folders and is asked
first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from homeground.corpus.git import Repository

GIT_FILE = ".gitignore"
OWN_FILE = ".homegroundignore"
ATTRIBUTES_FILE = ".gitattributes"

_BELOW = "(?:(?P<ps_d>/)|$)"  # how pathspec ends a pattern that also speaks of what lies below a folder
_LONGEST_FILE = 1 << 20


class Patterns:
    r"""The lines of one file of patterns, as one regular expression that finds the last line that matches.

    Args:
        rules: (pattern, what it says), in the order of the file. A pattern has no "!" in front: that is in what it
            says, as in ("build/", True), ("keep.py", False).
    """

    def __init__(self, rules: Iterable[tuple[str, bool]]) -> None:
        expressions = [(found, says) for pattern, says in rules if (found := _expression(pattern)) is not None]
        expressions.reverse()
        self._folders = _Alternatives([(expression, says) for (expression, _), says in expressions])
        self._files = _Alternatives([(expression, says) for (expression, only), says in expressions if not only])

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
        return (self._folders if is_folder else self._files).first(path)


class _Alternatives:
    def __init__(self, rules: Sequence[tuple[str, bool]]) -> None:
        self._says = [says for _, says in rules]
        self._expression = re.compile("|".join(f"(?:{one})()" for one, _ in rules), re.DOTALL) if rules else None

    def first(self, path: str) -> bool | None:
        match = self._expression.match(path) if self._expression is not None else None
        return None if match is None or match.lastindex is None else self._says[match.lastindex - 1]


def _expression(pattern: str) -> tuple[str, bool] | None:
    """(regular expression of the whole path, whether only a folder may match), or None for a line that says nothing."""
    trimmed = re.sub(r"(?<!\\) +\Z", "", pattern)
    only_folders = trimmed.endswith("/")
    trimmed = trimmed.removesuffix("/")
    if not trimmed or trimmed.isspace():
        return None
    if trimmed[0] in "!#":
        trimmed = "\\" + trimmed
    try:
        expression, _ = GitIgnoreSpecPattern.pattern_to_regex(trimmed)
        if expression is None:
            return None
        expression = str(expression).replace(_BELOW, r"\Z")
        re.compile(expression)
    except (GitIgnorePatternError, re.error):
        return None  # git lets such a line match nothing, too
    return expression, only_folders


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
    """Files that git tracks, which no pattern of git leaves out, and the folders that lead to them."""

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
    """Tracked paths below a prefix ("" or with a final "/") and the folders that lead to them, relative to it."""
    found: set[str] = set()
    for tracked in repository.tracked():
        path = tracked.removeprefix(prefix) if tracked.startswith(prefix) else ""
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return frozenset(found)
