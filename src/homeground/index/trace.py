"""Who calls a definition, and what it calls.

A call says only a name, and perhaps what stands before its dot. It is resolved
- `local`: by the same file: a definition beside it, or a method of its own class behind `self` or `this`;
- `import`: through the file's imports: the dotted name that they make of the call is the end of a definition's own
  dotted name (its path and its symbol), or the other way round when the index begins inside the package;
- `name`: else by the name alone, which may be wrong: `x.close()` could be any `close`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from homeground.base.record import Record
from homeground.corpus import Import, own_name, split_symbol
from homeground.index.symbols import Call, Symbol, Symbols

_MOST_BY_NAME = 3
_SELF = frozenset({"self", "cls", "this", "super()", "super", "Self", "@self", "$this", "static", "parent"})
_CLASSES = frozenset({"class", "struct", "interface", "trait", "enum", "type", "object", "record", "protocol", "impl"})
_SEPARATORS = str.maketrans({"/": ".", "\\": ".", ":": "."})
_INDEX_FILES = frozenset({"__init__", "index", "mod", "lib"})
_OWN_ROOT = frozenset({"crate", "super", "self"})
_NAMES_ARE_BOUND = frozenset({"python", "javascript", "typescript", "tsx"})
"""Languages in which a bare name is defined in its file, imported into it or built in; nothing else."""


class Via(StrEnum):
    """How a call was resolved."""

    LOCAL = "local"
    IMPORT = "import"
    NAME = "name"


@dataclass(frozen=True)
class Link(Record):
    """One end of a call.

    Attributes:
        symbol: dotted name of the caller ("" at module level) or of what is called.
        path: file of that definition.
        line: line of the call for a caller, of the definition for what is called.
        call: line of the call.
        via: how it was resolved.
    """

    symbol: str
    path: str
    line: int
    call: int
    via: Via


@dataclass(frozen=True)
class Unclear(Record):
    """A name that is called and how many definitions have it."""

    name: str
    candidates: int


@dataclass(frozen=True)
class Trace(Record):
    """Callers and callees of one definition.

    Attributes:
        symbol: the definition.
        callers: those that are resolved first, then those by name.
        callees: in the order of their calls.
        unclear: names it calls that too many definitions have.
        external: names it calls that the index does not define.
        truncated: there are more than `limit` of one of these.
    """

    symbol: Symbol
    callers: list[Link]
    callees: list[Link]
    unclear: list[Unclear]
    external: list[str]
    truncated: bool


class Tracer:
    """Resolves calls over the tables of symbols."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._imports: dict[int, list[Import]] = {}
        self._named: dict[str, list[Symbol]] = {}

    def trace(self, of: Symbol, limit: int) -> Trace:
        """Callers and callees of a definition, of each the first `limit`."""
        callers: list[Link] = []
        callees: list[Link] = []
        name = own_name(of.symbol)
        for called in (name, *self._symbols.renamed(name)):
            for call in self._symbols.calls_of(called):
                targets, via = self.resolve(call)
                if of in targets:
                    callers.append(Link(call.symbol, call.path, call.line, call.line, via))
        callers.sort(key=lambda link: link.via is Via.NAME)
        seen: set[Symbol] = set()
        external: dict[str, None] = {}
        unclear: dict[str, int] = {}
        for call in self._symbols.calls_in(of):
            targets, via = self.resolve(call)
            written = f"{call.qualifier}.{call.name}" if call.qualifier not in ("", "?") else call.name
            if not targets:
                external[written] = None
            if via is Via.NAME and len(targets) > _MOST_BY_NAME:
                unclear[written] = len(targets)
                continue
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    callees.append(Link(target.symbol, target.path, target.line, call.line, via))
        return Trace(
            of,
            callers[:limit],
            callees[:limit],
            [Unclear(name, candidates) for name, candidates in unclear.items()][:limit],
            list(external)[:limit],
            truncated=max(len(callers), len(callees), len(external)) > limit,
        )

    def resolve(self, call: Call) -> tuple[list[Symbol], Via]:
        """The definitions that a call may mean and how they were found; none when it leaves the index."""
        named = self._of_name(call.name)
        first = call.qualifier.partition(".")[0]
        if first in _SELF:
            around = _scopes(call.symbol)
            own = [one for one in named if one.file == call.file and split_symbol(one.symbol)[0] in around]
            return (own, Via.LOCAL) if own else (_methods(named), Via.NAME)
        if not call.qualifier and (local := self._visible(named, call)):
            return local, Via.LOCAL
        bound, imported = self._imported(call)
        if bound:
            return imported, Via.IMPORT
        if not call.qualifier:
            if call.language in _NAMES_ARE_BOUND:
                return [], Via.NAME
            beside = [one for one in named if posixpath.dirname(one.path) == posixpath.dirname(call.path)]
            return beside or named, Via.NAME
        if owned := [one for one in named if f".{one.symbol}".endswith(f".{call.qualifier}.{call.name}")]:
            here = [one for one in owned if one.file == call.file]
            return (here, Via.LOCAL) if here else (owned, Via.NAME)
        return _methods(named), Via.NAME

    def _visible(self, named: Sequence[Symbol], call: Call) -> list[Symbol]:
        """The definition of the same file that a bare name means where the call stands: the innermost scope's."""
        here = {one.symbol: one for one in named if one.file == call.file}
        for scope in [*_scopes(call.symbol), ""]:
            found = here.get(f"{scope}.{call.name}" if scope else call.name)
            if found is None:
                continue
            needs_self = call.language in _NAMES_ARE_BOUND and any(
                one.symbol == scope and one.file == call.file and one.kind in _CLASSES
                for one in self._of_name(own_name(scope))
            )
            if not needs_self:
                return [found]
        return []

    def _imported(self, call: Call) -> tuple[bool, list[Symbol]]:
        """Whether an import of the file makes the call's first name known, and the definitions that it leads to."""
        written = f"{call.qualifier}.{call.name}".translate(_SEPARATORS).strip(".")
        bound = False
        found: dict[Symbol, None] = {}
        for one in self._imports_of(call.file):
            for full in _full_names(one, written, call):
                bound = bound or one.name != "*"
                for symbol in _matching(full, self._of_name(full[-1])):
                    found[symbol] = None
        return bound or bool(found), list(found)

    def _of_name(self, name: str) -> list[Symbol]:
        """Definitions of exactly this last name."""
        if name not in self._named:
            self._named[name] = [one for one in self._symbols.named(name) if own_name(one.symbol) == name]
        return self._named[name]

    def _imports_of(self, file: int) -> list[Import]:
        if file not in self._imports:
            self._imports[file] = self._symbols.imports_of(file)
        return self._imports[file]


def _methods(named: Sequence[Symbol]) -> list[Symbol]:
    """What can stand behind a dot: members where there are any."""
    return [one for one in named if "." in one.symbol] or list(named)


def _scopes(symbol: str) -> list[str]:
    """The dotted name and all that encloses it, innermost first."""
    scopes: list[str] = []
    while symbol:
        scopes.append(symbol)
        symbol = split_symbol(symbol)[0]
    return scopes


def _full_names(one: Import, written: str, call: Call) -> Iterator[list[str]]:
    """What the import makes of a written name, as parts of a dotted name; nothing if it does not make it known."""
    module = _module(one.module, call.path)
    if one.name == "*" or (not one.name and not one.alias and "." not in written):
        if "." not in written:
            yield [*module, written]
        return
    taken = [*module, one.name] if one.name else module
    alias = (one.alias or (taken[-1] if taken else "")).translate(_SEPARATORS).strip(".")
    if written == alias or written.startswith(f"{alias}."):
        rest = written[len(alias) + 1 :]
        yield [*taken, *rest.split(".")] if rest else taken
    if not one.name and module and written.split(".")[0] == module[0] and len(module) > 1:
        yield written.split(".")  # import a.b, then a.b.f()


def _module(module: str, path: str) -> list[str]:
    """Parts of a module's name; a relative one is resolved from the file that imports it."""
    folder = posixpath.dirname(path)
    if module.startswith(("./", "../")):
        text = posixpath.normpath(posixpath.join(folder, module))
    elif module.startswith("."):
        names = module.lstrip(".")
        up = "../" * (len(module) - len(names) - 1)
        text = posixpath.normpath(posixpath.join(folder, up, *names.split(".")))
    else:
        text = module.strip("<>\"'")
    stem, dot, suffix = text.rpartition(".")
    if dot and suffix in ("js", "ts", "mjs", "cjs", "jsx", "tsx", "h", "hpp", "hh", "rb", "lua", "php", "sh"):
        text = stem
    parts = [part for part in text.translate(_SEPARATORS).split(".") if part]
    while parts and (parts[0] in _OWN_ROOT):
        parts = parts[1:]
    return parts[:-1] if len(parts) > 1 and parts[-1] in _INDEX_FILES else parts


def _matching(full: Sequence[str], named: Sequence[Symbol]) -> list[Symbol]:
    """Definitions whose dotted name agrees with `full`; those that agree with their file's name win."""
    by_file: list[Symbol] = []
    by_folder: list[Symbol] = []
    for one in named:
        folder = list(PurePosixPath(one.path).parent.parts)
        stem = PurePosixPath(one.path).name.split(".")[0]
        symbol = one.symbol.split(".")
        module = folder if stem in _INDEX_FILES else [*folder, stem]
        if _agree([*module, *symbol], full, len(symbol)):
            by_file.append(one)
        elif folder and _agree([*folder, *symbol], full, len(symbol)):  # of a package, or handed on by one
            by_folder.append(one)
    return by_file or by_folder


def _agree(own: Sequence[str], full: Sequence[str], least: int) -> bool:
    """Whether the shorter dotted name is the end of the longer one, and says more than the symbol."""
    short = min(len(own), len(full))
    return short > least and list(own[-short:]) == list(full[-short:])
