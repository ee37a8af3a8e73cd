"""Filters of a search: which chunks may be found at all. They apply before anything is ranked."""

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

if TYPE_CHECKING:
    from homeground.index.manifest import Manifest

_NAMED = 8


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

    def allowed(self, manifest: Manifest) -> set[str]:
        """Ids of the chunks that pass.

        Raises:
            UsageError: nothing passes; it names what the index has.
        """
        facts = manifest.facts()
        path_passes = self.passing({path for _, path, *_ in facts})
        passed = {
            key
            for key, path, symbol, kind, language in facts
            if path in path_passes
            and (not self.languages or language in self.languages)
            and (not self.kinds or kind in self.kinds)
            and (not self.symbols or any(symbol_matches(pattern, symbol) for pattern in self.symbols))
        }
        if not passed:
            raise self._nothing(facts, path_passes)
        return passed

    def passing(self, paths: set[str]) -> set[str]:
        """Those of the paths that the filter of paths lets through."""
        if not self.paths:
            return paths
        from pathspec import GitIgnoreSpec

        only_exclude = all(pattern.startswith("!") for pattern in self.paths)
        spec = GitIgnoreSpec.from_lines(["*", *self.paths] if only_exclude else self.paths)
        return {path for path in paths if spec.match_file(nfc(path))}

    def _nothing(self, facts: Sequence[tuple[str, str, str, str, str]], paths: set[str]) -> UsageError:
        """The first filter that alone lets nothing through, with what there is; else the filters together."""
        if self.paths and not paths:
            tops = _most(path.split("/")[0] + "/" if "/" in path else path for _, path, *_ in facts)
            return _mismatch("path", self.paths, f"the index has: {tops}; patterns are those of a .gitignore")
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


def rows_of(ids: set[str], row: dict[str, int]) -> NDArray[np.int64]:
    """Numbers of the ids' rows in a view, ascending; ids that the view does not know are left out."""
    return np.sort(np.fromiter((row[key] for key in ids if key in row), dtype=np.int64))


def _most(values: Iterable[str]) -> str:
    counted = Counter(value for value in values if value).most_common()
    named = ", ".join(f"{value} ({count})" for value, count in counted[:_NAMED])
    return named + (f" and {len(counted) - _NAMED} more" if len(counted) > _NAMED else "")


def _mismatch(name: str, values: tuple[str, ...], hint: str) -> UsageError:
    return UsageError(f"no chunk has the {name} {' or '.join(map(repr, values))}", where="filters", hint=hint)
