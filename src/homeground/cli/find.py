"""Verbs that look into the index: `search`, `symbols`, `trace`, `skeleton` and `read`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.base.errors import UsageError
from homeground.cli.printed_lines import NAME, NUMBER, QUIET, ShownPaths, Styled, numbered, place, print_lines
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from homeground.index import Excerpt, Found, Hit, Index, Skeleton, Tools, Trace

_FILTERS = "Filters (before ranking; repeat for alternatives)"

PathOption = Annotated[
    list[str] | None,
    typer.Option(
        "--path",
        "-p",
        help="As in a .gitignore: 'src/', '*.py', '!tests/'; the last that matches decides.",
        rich_help_panel=_FILTERS,
    ),
]
LanguageOption = Annotated[
    list[str] | None, typer.Option("--language", "-l", help="Such as python.", rich_help_panel=_FILTERS)
]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help="Such as function, class, section.", rich_help_panel=_FILTERS)
]
SymbolOption = Annotated[
    list[str] | None,
    typer.Option("--symbol", help="Glob over a dotted name or its end: 'Oven.*'.", rich_help_panel=_FILTERS),
]
FilesOption = Annotated[bool, typer.Option("--files", help="Paths only, each once.")]


@verb(example="homeground search 'parse an HTTP date'")
def search(
    common: Common,
    query: Annotated[str, typer.Argument(help="Words, code, or a name.")],
    hits: Annotated[int | None, typer.Option("--hits", "-k", min=1, help="How many (else the index's top_k).")] = None,
    path: PathOption = None,
    language: LanguageOption = None,
    kind: KindOption = None,
    symbol: SymbolOption = None,
    lines: Annotated[int, typer.Option(min=1, help="Lines shown of each hit.")] = 3,
    files: FilesOption = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each stage gave, and its time.")] = False,
) -> None:
    """Find code and text in the index, with file and lines."""
    if not query.strip():
        raise UsageError("the query is blank", where="homeground search", hint="say in words what the code does")
    workspace = common.workspace(create=False)

    from homeground.index import Filters, Index

    index = Index.open(workspace.index)
    filters = Filters(tuple(path or ()), tuple(language or ()), tuple(kind or ()), tuple(symbol or ()))
    found = index.explain(query, hits, filters=filters)
    _tell(common, found.warnings)
    if common.json:
        common.show((found if explain else replace(found, explain=None)).to_json())
    elif not found.hits:
        common.tell("nothing found")
    elif files:
        _print_files((hit.path for hit in found.hits), index)
    else:
        print_lines(_hit_lines(found, index, lines, explain))


@verb(example="homeground symbols 'parse_*'")
def symbols(
    common: Common,
    pattern: Annotated[str, typer.Argument(help="A glob over a dotted name or its end, or a part of a name.")] = "",
    kind: KindOption = None,
    path: PathOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many.")] = 50,
    files: FilesOption = False,
) -> None:
    """List the functions, classes and other definitions of the index."""
    tools = _tools(common)
    found = tools.symbols(pattern, kind or (), path or (), limit)
    _tell(common, found.warnings)
    if common.json:
        common.show(found.to_json())
    elif files:
        _print_files((one.path for one in found.symbols), tools.index)
    else:
        shown = ShownPaths(tools.index)
        print_lines(
            [*place(shown(one.path), one.line), (one.symbol, NAME), (f": {one.signature}", "")] for one in found.symbols
        )
        if found.total > len(found.symbols):
            common.tell(f"{len(found.symbols)} of {found.total}; more with --limit, or narrow the pattern")


@verb(example="homeground trace parse_headers")
def trace(
    common: Common,
    symbol: Annotated[str, typer.Argument(help="A dotted name or its end; PATH:NAME where several have it.")],
    files: FilesOption = False,
) -> None:
    """Show who calls a definition and what it calls; '?' marks what only the name says."""
    tools = _tools(common)
    found = tools.trace(symbol)
    if common.json:
        common.show(found.to_json())
    elif files:
        _print_files((one.path for one in [*found.callers, *found.callees]), tools.index)
    else:
        print_lines(_trace_lines(found, ShownPaths(tools.index)))
        if found.truncated:
            common.tell("more calls than are shown")


@verb(example="homeground skeleton http/client.py")
def skeleton(
    common: Common, file: Annotated[str, typer.Argument(help="An indexed file; bodies are left out.")]
) -> None:
    """Show what a file defines: signatures and the first words of their documentation."""
    tools = _tools(common)
    found = tools.skeleton(file)
    _warn(common, found)
    if common.json:
        common.show(found.to_json())
        return
    if not found.entries:
        common.tell(f"{found.path} defines nothing that the index knows of")
    width = len(str(found.lines))
    for entry in found.entries:
        indent = "    " * entry.depth
        lines = [[(f"{entry.line:>{width}}", NUMBER), (": ", QUIET), (indent + entry.signature, "")]]
        if entry.doc:
            lines.append([(" " * width, ""), (": ", QUIET), (f"{indent}    {entry.doc}", QUIET)])
        print_lines(lines)


@verb(example="homeground read http/client.py:10-20")
def read(
    common: Common,
    place: Annotated[str, typer.Argument(metavar="PATH[:START[-END]]", help="As in hits; without END, to the end.")],
) -> None:
    """Print lines of an indexed file, as they were indexed."""
    tools = _tools(common)

    from homeground.index.tools import split_place

    found = tools.read(*split_place(place), None)
    _warn(common, found)
    if common.json:
        common.show(found.to_json())
        return
    print_lines(numbered(found))


def _tools(common: Common) -> Tools:
    workspace = common.workspace(create=False)

    from homeground.index import Index, Tools

    return Tools(Index.open(workspace.index), Path.cwd())


def _warn(common: Common, found: Excerpt | Skeleton) -> None:
    if found.stale:
        common.tell(f"{found.path} has changed since it was indexed; 'homeground index' brings it up to date")


def _tell(common: Common, warnings: Iterable[str]) -> None:
    from rich.text import Text

    for warning in warnings:
        common.tell(Text(f"warning: {warning}"))


def _trace_lines(found: Trace, shown: ShownPaths) -> Iterator[list[Styled]]:
    of = found.symbol
    yield [*place(shown(of.path), of.line), (of.symbol, NAME), (f": {of.signature}", "")]
    for title, ends in (("callers", found.callers), ("callees", found.callees)):
        yield [(f"{title}: {len(ends) or 'none'}", QUIET)]
        for one in ends:
            name = one.symbol or "(module)"
            mark = " ?" if one.via == "name" else ""
            yield [*place(shown(one.path), one.line), (name, NAME), (mark, QUIET)]
    if found.unclear:
        names = ", ".join(f"{one.name} ({one.candidates})" for one in found.unclear)
        yield [(f"could be any of several: {names}", QUIET)]
    if found.external:
        yield [(f"outside of the index: {', '.join(found.external)}", QUIET)]


def _print_files(paths: Iterable[str], index: Index) -> None:
    shown = ShownPaths(index)
    print_lines([(name, "")] for name in dict.fromkeys(map(shown, paths)))


def _hit_lines(found: Found, index: Index, most: int, explain: bool) -> Iterator[list[Styled]]:
    shown = ShownPaths(index)
    for number, hit in enumerate(found.hits):
        if number and most > 1:
            yield [("--", QUIET)]
        path = shown(hit.path)
        lines = [(row, line) for row, line in enumerate(hit.text.splitlines(), hit.start) if line.strip()][:most]
        for at, (row, line) in enumerate(lines):
            named = [(hit.symbol, NAME), (": ", QUIET)] if hit.symbol and not at else []
            yield [*place(path, row, "-" if at else ":"), *named, (line, "")]
        if explain:
            yield [("  " + ", ".join(_scores(hit)), QUIET)]
    if explain and (how := found.explain):
        weights = ", ".join(f"{stage} {weight:g}" for stage, weight in how.weights.items()) or "none"
        times = ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in how.seconds.items())
        yield [(f"{how.candidates} candidates of {how.searched} chunks; weights: {weights}; {times}", QUIET)]


def _scores(hit: Hit) -> Iterator[str]:
    yield f"score {hit.score:.3f}"
    for stage, score in hit.scores.items():
        yield f"{stage} {score:.3f}"
