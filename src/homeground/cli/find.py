"""Verbs that look into the index: `search`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.base.errors import UsageError
from homeground.cli.lines import NAME, QUIET, Paths, Styled, place, print_lines
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from homeground.index import Explanation, Hit, Index

_FILTERS = "Filters (before ranking; repeat for alternatives)"

PathOption = Annotated[
    list[str] | None,
    typer.Option("--path", "-p", help="As in a .gitignore: 'src/', '*.py', '!tests/'.", rich_help_panel=_FILTERS),
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
    if common.json:
        document = {"query": query, "hits": [hit.to_json() for hit in found.hits]}
        common.show(document | ({"explain": found.to_json()} if explain else {}))
    elif not found.hits:
        common.tell("nothing found")
    elif files:
        _print_files([hit.path for hit in found.hits], index)
    else:
        print_lines(_hit_lines(found, index, lines, explain))


def _print_files(paths: list[str], index: Index) -> None:
    shown = Paths()
    print_lines([(name, "")] for name in dict.fromkeys(shown.shown(index.resolve(path)) for path in paths))


def _hit_lines(found: Explanation, index: Index, most: int, explain: bool) -> Iterator[list[Styled]]:
    shown = Paths()
    for number, hit in enumerate(found.hits):
        if number and most > 1:
            yield [("--", QUIET)]
        path = shown.shown(index.resolve(hit.path))
        lines = [(row, line) for row, line in enumerate(hit.text.splitlines(), hit.start) if line.strip()][:most]
        for at, (row, line) in enumerate(lines):
            named = [(hit.symbol, NAME), (": ", QUIET)] if hit.symbol and not at else []
            yield [*place(path, row, "-" if at else ":"), *named, (line, "")]
        if explain:
            yield [("  " + ", ".join(_scores(hit)), QUIET)]
    if explain:
        weights = ", ".join(f"{stage} {weight:g}" for stage, weight in found.weights.items()) or "none"
        times = ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in found.seconds.items())
        yield [(f"{found.candidates} candidates of {found.searched} chunks; weights: {weights}; {times}", QUIET)]


def _scores(hit: Hit) -> Iterator[str]:
    yield f"score {hit.score:.3f}"
    for stage, score in hit.scores.items():
        yield f"{stage} {score:.3f}"
