"""What the verbs, the MCP server and agents in training call: search, read, symbols, trace, skeleton.

Everything is answered from the index. A path is looked up among the indexed files and never opened to be shown, so
nothing outside of the indexed folders can be read, nor a file that was left out, nor a secret that was replaced. Every
answer is a record of bounded size; every error says what to ask instead.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.record import UNLESS_EMPTY, Record
from homeground.corpus import nfc, own_name, read_text, spellings
from homeground.corpus.documentation import documentation
from homeground.corpus.languages import LANGUAGE_BY_NAME
from homeground.index.filters import Filters, symbol_matches
from homeground.index.symbols import Symbol, lines_of
from homeground.index.trace import Trace, Tracer

if TYPE_CHECKING:
    from homeground.index.index import Index
    from homeground.index.search import Found

MOST_HITS = 50
MOST_SYMBOLS = 200
MOST_LINKS = 200
MOST_LINES = 400
MOST_CHARACTERS = 40_000
MOST_NAME = 1000
"""Longest path, symbol or filter in a request, in characters."""
_PLACE = re.compile(r"(?P<path>.*?)(?::(?P<start>\d{1,9})(?:-(?P<end>\d{1,9})?)?)?", re.DOTALL)
_MOST_DOC = 400
_NEAR = 5
_LEAST_LIKENESS = 60
_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class SymbolMatches(Record):
    """Definitions that match a pattern: the first of them, how many there are, and filters without effect."""

    pattern: str
    symbols: list[Symbol]
    total: int
    warnings: Annotated[list[str], UNLESS_EMPTY] = field(default_factory=list[str])


@dataclass(frozen=True)
class Entry(Record):
    """A definition in a skeleton; `doc` is the first sentence of its documentation."""

    line: int
    end: int
    depth: int
    symbol: str
    kind: str
    signature: str
    doc: str


@dataclass(frozen=True)
class Skeleton(Record):
    """The definitions of a file; `lines` is how many it has, `stale` says that it has changed since it was indexed."""

    path: str
    language: str
    lines: int
    entries: list[Entry]
    stale: bool


@dataclass(frozen=True)
class Excerpt(Record):
    """Lines `start` to `end` of a file that has `lines`; `stale` says that it has changed since it was indexed."""

    path: str
    start: int
    end: int
    lines: int
    text: str
    truncated: bool
    stale: bool


class Tools:
    """The tools over one index. Safe to use from several threads.

    Args:
        index: what they look into.
        here: paths may also be given relative to this folder, as a person in it would write them.
    """

    def __init__(self, index: Index, here: Path | None = None) -> None:
        self.index = index
        self._here = here
        self._listed: tuple[object, list[Symbol]] = (None, [])

    def search(self, query: str, k: int = 10, filters: Filters | None = None) -> Found:
        """Find the best hits for words, code or a name, at most 50.

        Raises:
            UsageError: the query is blank, k is less than 1, or nothing passes the filters.
        """
        if not query.strip():
            raise UsageError("the query is blank", where="search", hint="say in words what the code does, or a name")
        if k < 1:
            raise UsageError(f"k is {k}: it must be at least 1", where="search", hint="leave it out for 10 hits")
        return replace(self.index.explain(query, min(k, MOST_HITS), filters=filters), explain=None)

    def symbols(
        self,
        pattern: str = "",
        kinds: Sequence[str] = (),
        paths: Sequence[str] = (),
        limit: int = 50,
    ) -> SymbolMatches:
        """Find the definitions whose name matches, exact names first.

        Args:
            pattern: a glob over a dotted name or its end, or a part of a name in any case; "" is all.
            kinds: only these kinds.
            paths: patterns of paths, as in a .gitignore.
            limit: how many to list; `total` counts all.

        Raises:
            UsageError: nothing matches; it names what is near.
        """
        warnings: list[str] = []
        pattern = nfc(pattern)
        everything = self._definitions
        names = {name.casefold() for name in spellings(pattern)}
        exact = {id(one) for one in everything if _is_one_of(one, names)}
        found = [one for one in everything if id(one) in exact or _matches(pattern, one.symbol)]
        if not found:
            raise UsageError(
                f"no symbol matches '{pattern}'" if everything else "the index holds no symbols",
                where="symbols",
                hint=self._near_names(pattern) if everything else "it has prose only; 'search' finds it",
            )
        if kinds:
            there = sorted({one.kind for one in found})
            found = [one for one in found if one.kind in kinds]
            if not found:
                raise UsageError(
                    f"no symbol that matches is a {' or '.join(kinds)}",
                    where="symbols",
                    hint=f"kinds: {', '.join(there)}",
                )
        if paths:
            passed, warnings = Filters(paths=tuple(paths)).passing({one.path for one in found})
            if not passed:
                raise UsageError(
                    f"no symbol that matches lies in {' or '.join(paths)}",
                    where="symbols",
                    hint=f"they lie in: {_some(sorted({one.path for one in found}))}",
                )
            found = [one for one in found if one.path in passed]
        last = own_name(pattern)
        found.sort(
            key=lambda one: (
                id(one) not in exact,
                own_name(one.symbol).casefold() != last.casefold(),
                id(one) in exact and own_name(one.symbol) != last,
            )
        )
        limit = max(1, min(limit, MOST_SYMBOLS))
        return SymbolMatches(pattern, found[:limit], len(found), warnings)

    def trace(self, symbol: str) -> Trace:
        """Find who calls a definition and what it calls.

        Args:
            symbol: a dotted name or its end, with its file in front where that is needed: "PATH:NAME".

        Raises:
            UsageError: there is no such symbol, or there are several.
        """
        return Tracer(self.index.symbols).trace(self.find(symbol), MOST_LINKS)

    def find(self, symbol: str) -> Symbol:
        """The one definition of this name.

        Raises:
            UsageError: there is none, or there are several.
        """
        symbol = nfc(symbol)
        found, name = self._named(symbol), symbol
        if not found and ":" in symbol:
            given, name = _split_file(symbol, {path for _, path in self.index.files()})
            path = self.file(given)[1] if given else ""
            found = self._named(name, path)
        if not found:
            raise UsageError(f"no symbol is called '{symbol}'", where="trace", hint=self._near_names(name))
        places = {(one.path, one.symbol): one for one in reversed(found)}
        if len(places) > 1:
            listed = _some([f"{one.path}:{one.symbol} (line {one.line})" for one in found])
            raise UsageError(f"'{symbol}' is ambiguous", where="trace", hint=f"name one of them: {listed}")
        return found[0]

    def _named(self, written: str, path: str = "") -> list[Symbol]:
        """Definitions of a name as written in a query, those of its likeliest spelling."""
        for name in spellings(written):
            named = [one for one in self.index.symbols.named(own_name(name)) if not path or one.path == path]
            for fits in (_is, _ends, _in_module, _folded):
                if found := [one for one in named if fits(one, name)]:
                    return found
        return []

    def skeleton(self, path: str) -> Skeleton:
        """List what a file defines, bodies left out.

        Raises:
            UsageError: the index holds no such file.
        """
        root, name = self.file(path)
        chunks = self.index.file_chunks(root, name)
        lines = lines_of(chunks)
        language = chunks[0].language if chunks else ""
        said = _summaries(lines, language)
        entries = [
            Entry(
                one.line,
                one.end,
                one.symbol.count("."),
                one.symbol,
                one.kind,
                one.signature,
                said.get((one.line, one.symbol), "")[:_MOST_DOC],
            )
            for one in self.index.symbols.in_file(name)
        ]
        return Skeleton(name, language, len(lines), entries, self._stale(root, name, lines))

    def read(self, path: str, start: int = 1, end: int | None = None, most_lines: int | None = MOST_LINES) -> Excerpt:
        """Read lines of a file as they were indexed.

        Args:
            path: of an indexed file.
            start: first line, 1-based.
            end: last line, inclusive; the file's last if None.
            most_lines: more are left out, and characters over 40,000; None gives everything.

        Raises:
            UsageError: the index holds no such file, or the range holds no line of it.
        """
        root, name = self.file(path)
        lines = lines_of(self.index.file_chunks(root, name))
        if start < 1 or start > len(lines):
            raise UsageError(
                f"{name} has lines 1 to {len(lines)}: there is no line {start}", where=name, hint="ask for lines it has"
            )
        if end is not None and end < start:
            raise UsageError(f"the range {start}-{end} ends before it begins", where=name, hint="write START-END")
        wanted = min(len(lines) if end is None else end, len(lines))
        stop = wanted if most_lines is None else _fitting(lines, start, wanted, most_lines)
        text = "\n".join(lines[start - 1 : stop])
        cut = most_lines is not None and len(text) > MOST_CHARACTERS  # a single longer line
        return Excerpt(
            name,
            start,
            stop,
            len(lines),
            text[:MOST_CHARACTERS] if cut else text,
            truncated=cut or stop < wanted,
            stale=self._stale(root, name, lines),
        )

    def file(self, path: str) -> tuple[int, str]:
        """Number of the root and path of an indexed file.

        Raises:
            UsageError: the index holds no such file.
        """
        known = {name: number for number, name in self.index.files()}
        clean = posixpath.normpath(path) if path.strip() else ""
        if clean in known:
            return known[clean], clean
        composed = {nfc(name): name for name in known}
        if (name := composed.get(nfc(clean))) is not None:
            return known[name], name
        roots = self.index.roots
        given = Path(clean) if posixpath.isabs(clean) else (self._here / clean if self._here is not None else None)
        if given is not None:
            whole, base = Path(posixpath.normpath(given)), self.index.base
            name = whole.relative_to(base).as_posix() if whole.is_relative_to(base) else ""
            name = name if name in known else composed.get(nfc(name), name)
            if name in known:
                return known[name], name
        within = given is not None and any(Path(posixpath.normpath(given)).is_relative_to(root) for root in roots)
        if (posixpath.isabs(clean) or clean.startswith("..")) and not within:
            raise UsageError(
                f"'{path}' lies outside of the indexed folders",
                where=", ".join(map(str, roots)),
                hint="give a path below one of them, as in the hits of a search",
            )
        near = _near(clean, list(known))
        raise UsageError(
            f"the index holds no file '{path}'",
            where=", ".join(map(str, roots)),
            hint=f"near: {', '.join(near)}" if near else "paths are those of hits; 'homeground index' reads new files",
        )

    @property
    def _definitions(self) -> list[Symbol]:
        snapshot = self.index.snapshot
        if self._listed[0] != snapshot:
            self._listed = (snapshot, self.index.symbols.all())
        return self._listed[1]

    def _near_names(self, pattern: str) -> str:
        near = _near(pattern, sorted({one.symbol for one in self._definitions}))
        return f"near: {', '.join(near)}" if near else "search for what it does instead"

    def _stale(self, root: int, path: str, lines: Sequence[str]) -> bool:
        """Whether the file on disk says something else now, or is gone."""
        file = self.index.base / path
        if file.is_symlink() or not file.resolve().is_relative_to(self.index.roots[root]):
            return True
        try:
            now = read_text(file)
        except HomegroundError:
            return True
        return [line for line in now if line.strip()] != [line for line in lines if line.strip()]


def split_place(written: str) -> tuple[str, int, int | None]:
    """`PATH`, `PATH:START` or `PATH:START-END` as path, first line and last line; None is the end of the file."""
    found = _PLACE.fullmatch(written)
    assert found is not None  # it matches everything
    return found["path"], int(found["start"] or 1), int(found["end"]) if found["end"] else None


def _split_file(written: str, known: Collection[str]) -> tuple[str, str]:
    """Split "PATH:NAME" into a file and a name; the file is "" if colons occur only in pairs, as in A::b."""
    at = next((at for at, mark in enumerate(written) if mark == ":" and written[:at] in known), -1)
    if at < 0:
        at = written.replace("::", "  ").find(":")
    return (written[:at], written[at + 1 :]) if at > 0 else ("", written)


def _fitting(lines: Sequence[str], start: int, stop: int, most_lines: int) -> int:
    """The last line that can be shown; one at least."""
    held = 0
    last = min(stop, start + most_lines - 1)
    for number in range(start, last + 1):
        held += len(lines[number - 1]) + 1
        if held > MOST_CHARACTERS:
            return max(start, number - 1)
    return last


def _matches(pattern: str, symbol: str) -> bool:
    if _GLOB.intersection(pattern):
        return symbol_matches(pattern, symbol)
    return pattern.casefold() in symbol.casefold()


def _is_one_of(one: Symbol, names: Collection[str]) -> bool:
    symbol = one.symbol.casefold()
    return any(symbol == name or symbol.endswith(f".{name}") for name in names)


def _is(one: Symbol, name: str) -> bool:
    return one.symbol == name


def _ends(one: Symbol, name: str) -> bool:
    return one.symbol.endswith(f".{name}")


def _in_module(one: Symbol, name: str) -> bool:
    """Whether the name has the file's module in front: `http.client.parse_headers`."""
    whole = f"{posixpath.splitext(one.path)[0].removesuffix('/__init__').replace('/', '.')}.{one.symbol}"
    return "." in name and (whole == name or whole.endswith(f".{name}"))


def _folded(one: Symbol, name: str) -> bool:
    return f".{one.symbol}".casefold().endswith(f".{name}".casefold())


def _near(wanted: str, known: Sequence[str]) -> list[str]:
    from rapidfuzz import fuzz, process

    found = process.extract(wanted, known, scorer=fuzz.WRatio, limit=_NEAR, score_cutoff=_LEAST_LIKENESS)
    return [name for name, *_ in found]


def _some(values: Iterable[str]) -> str:
    listed = list(values)
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")


def _summaries(lines: Sequence[str], language: str) -> dict[tuple[int, str], str]:
    """First sentences of the comments that say something about their definition, by its line and symbol."""
    row = LANGUAGE_BY_NAME.get(language)
    if row is None:
        return {}
    return {(one.line, nfc(one.symbol)): one.summary for one in documentation(lines, row) if not one.unusable}
