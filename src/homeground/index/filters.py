"""Filters of a search: they select the chunks that can be found, before anything is ranked.

Path patterns have the syntax of a `.gitignore` but list the files to search: the last pattern that matches a path or
one of its folders decides, and a list of only exclusions excludes from all files. A pattern without effect gives a
warning that names the nearest existing path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from homeground.base.errors import UsageError
from homeground.corpus import nfc
from homeground.corpus.ignore import LONGEST_PATTERN, Patterns

if TYPE_CHECKING:
    from homeground.index.manifest import Manifest

_NAMED = 8
_MOST_CHARACTERS = 4096
_LEAST_LIKENESS = 60
_LIKELY = 200


@dataclass(frozen=True)
class Filters:
    """What a hit must be. Values of one filter are alternatives; an empty filter lets everything through.

    Attributes:
        paths: patterns of paths as hits have them, in gitignore syntax: "src/", "*.py", "tests/**/conftest.py"; one
            that begins with "!" leaves out.
        languages: names of languages ("python").
        kinds: kinds of chunks ("function", "class", "section").
        symbols: globs over dotted names or their ends: "Oven.*" and "heat_*" both match "bakery.Oven.heat_up".
    """

    paths: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, tuple(map(nfc, getattr(self, field.name))))

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def allowed(self, manifest: Manifest) -> tuple[set[str], list[str]]:
        """Ids of the chunks that pass, and a warning for each value without effect.

        Raises:
            UsageError: nothing passes (the message names existing values); a pattern is too long; too many patterns.
        """
        facts = manifest.facts()
        path_passes, warnings = self.passing({path for _, path, *_ in facts})
        symbols = {symbol for *_, symbol, _, _ in facts}
        named = {symbol for symbol in symbols if any(symbol_matches(pattern, symbol) for pattern in self.symbols)}
        passed = {
            key
            for key, path, symbol, kind, language in facts
            if path in path_passes
            and (not self.languages or language in self.languages)
            and (not self.kinds or kind in self.kinds)
            and (not self.symbols or symbol in named)
        }
        if not passed:
            raise self._nothing(facts, path_passes)
        for field, given, known in (
            ("kind", self.kinds, {fact[3] for fact in facts}),
            ("language", self.languages, {fact[4] for fact in facts}),
        ):
            warnings += [f"no chunk has the {field} {one!r}{_nearest(one, known)}" for one in given if one not in known]
        for one in self.symbols:
            if not any(symbol_matches(one, symbol) for symbol in named):
                warnings.append(f"no chunk has the symbol {one!r}{_nearest(one, symbols)}")
        return passed, warnings

    def passing(self, paths: set[str]) -> tuple[set[str], list[str]]:
        """Select the paths that pass the patterns, with a warning for each pattern without effect.

        Raises:
            UsageError: a pattern is too long, or there are too many.
        """
        self._check()
        if not self.paths:
            return paths, []
        patterns = Patterns((pattern.removeprefix("!"), not pattern.startswith("!")) for pattern in self.paths)
        excludes = [pattern.startswith("!") for pattern in self.paths]
        matched: dict[str, frozenset[int]] = {"": frozenset()}

        def matching(path: str, *, is_folder: bool) -> frozenset[int]:
            above = path.rpartition("/")[0]
            if above not in matched:
                matched[above] = matching(above, is_folder=True)
            return matched[above].union(patterns.matching(nfc(path), is_folder=is_folder))

        passed: set[str] = set()
        useful: set[int] = set()
        for path in paths:
            found = matching(path, is_folder=False)
            last = max(found, default=None)
            if all(excludes) if last is None else not excludes[last]:
                passed.add(path)
                useful |= {one for one in found if not excludes[one]}
            elif last is not None and (all(excludes) or not all(excludes[one] for one in found)):
                useful.add(last)
        return passed, [self._idle(number, paths) for number in range(len(excludes)) if number not in useful]

    def _idle(self, number: int, paths: set[str]) -> str:
        pattern = self.paths[number]
        if not pattern.startswith("!"):
            return f"the path {pattern!r} adds nothing{_nearest(pattern, paths)}"
        if hidden := Filters((pattern.removeprefix("!"),)).passing(paths)[0]:
            later = tuple(one for one in self.paths[number:] if not one.startswith("!"))
            overruled = later and Filters(later).passing(hidden)[0]
            why = "a later pattern decides; put it last" if overruled else "no other pattern takes it in"
            return f"the path {pattern!r} excludes nothing: {why}"
        return f"the path {pattern!r} excludes nothing{_nearest(pattern, paths)}"

    def _check(self) -> None:
        for given in (self.paths, self.symbols):
            if (length := sum(map(len, given))) > _MOST_CHARACTERS or any(len(one) > LONGEST_PATTERN for one in given):
                raise UsageError(
                    f"the patterns of a filter have {length:,} characters",
                    where="filters",
                    hint=f"give at most {LONGEST_PATTERN:,} in one and {_MOST_CHARACTERS:,} in all",
                )

    def _nothing(self, facts: Sequence[tuple[str, str, str, str, str]], paths: set[str]) -> UsageError:
        """The first filter that alone lets nothing through, with what there is; else the filters together."""
        if self.paths and not paths:
            tops = _most(path.split("/")[0] + "/" if "/" in path else path for _, path, *_ in facts)
            near = "".join(_nearest(one, {path for _, path, *_ in facts}) for one in self.paths[:1])
            return _mismatch("path", self.paths, f"the index has: {tops}; patterns are those of a .gitignore{near}")
        if self.languages and not any(fact[4] in self.languages for fact in facts):
            return _mismatch("language", self.languages, f"the index has: {_most(fact[4] for fact in facts)}")
        if self.kinds and not any(fact[3] in self.kinds for fact in facts):
            return _mismatch("kind", self.kinds, f"the index has: {_most(fact[3] for fact in facts)}")
        if self.symbols and not any(symbol_matches(one, fact[2]) for fact in facts for one in self.symbols):
            return _mismatch("symbol", self.symbols, "'homeground symbols' lists those of the index")
        return UsageError(
            "no chunk passes all filters together", where=self._text(), hint="each of them alone matches: drop one"
        )

    def _text(self) -> str:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return "; ".join(f"{name} {', '.join(values)}" for name, values in given.items() if values)


def symbol_matches(pattern: str, symbol: str) -> bool:
    """Whether the glob matches the dotted name or an end of it that begins at a dot."""
    if not symbol:
        return False
    return fnmatchcase(symbol, pattern) or fnmatchcase(symbol, f"*.{pattern}")


def _nearest(pattern: str, known: Iterable[str]) -> str:
    """Name the most similar of the known names and their folders, as the end of a sentence."""
    from rapidfuzz import fuzz, process

    name = pattern.strip("!/").removeprefix("./")
    choices = {path for one in known for path in (one, one.rpartition("/")[0] + "/")} - {"", "/"}
    likely = process.extract(name, sorted(choices), scorer=fuzz.WRatio, score_cutoff=_LEAST_LIKENESS, limit=_LIKELY)
    found = max(likely, key=lambda one: fuzz.ratio(name, one[0]), default=None)
    return f"; nearest: {found[0]!r}" if found else ""


def rows_of(ids: set[str], row: dict[str, int]) -> NDArray[np.int64]:
    """Numbers of the ids' rows in a view, ascending; ids that the view does not know are left out."""
    return np.sort(np.fromiter((row[key] for key in ids if key in row), dtype=np.int64))


def _most(values: Iterable[str]) -> str:
    counted = Counter(value for value in values if value).most_common()
    named = ", ".join(f"{value} ({count})" for value, count in counted[:_NAMED])
    return named + (f" and {len(counted) - _NAMED} more" if len(counted) > _NAMED else "")


def _mismatch(name: str, values: tuple[str, ...], hint: str) -> UsageError:
    return UsageError(f"no chunk has the {name} {' or '.join(map(repr, values))}", where="filters", hint=hint)
