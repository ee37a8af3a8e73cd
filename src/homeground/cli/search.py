"""Verbs of the search wing: `index`, `search` and `tasks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.cli.listing import list_files, secret_lines
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from homeground.index import Hit

_SHOWN_LINES = 3


@verb(example="homeground index .")
def index(
    common: Common,
    roots: Annotated[
        list[Path] | None, typer.Argument(help="Folders or files (else the recipe's corpus.roots).")
    ] = None,
) -> None:
    """Make folders searchable, or bring their index up to date; only what changed is read again."""
    recipe = common.load_recipe(corpus={"roots": [str(root) for root in roots] if roots else None})
    folders = [Path(root) for root in recipe.corpus.roots]
    rules = recipe.corpus.model_dump(exclude={"roots"})
    if common.dry_run:
        from homeground.corpus import Corpus

        list_files(common, Corpus(folders, **rules))
        return
    workspace = common.workspace()

    from homeground.index import Index, IndexSettings

    with common.progress() as progress:
        _, report = Index.build(
            workspace.index,
            folders,
            IndexSettings(**recipe.index.model_dump()),
            progress=progress,
            **rules,
        )
    skipped = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items()) or "none"
    common.show(
        report.to_json(),
        f"{report.files} files, {report.chunks} chunks ({report.embedded} embedded, {report.reused} reused), "
        f"{report.seconds:.1f} s; left out: {skipped}",
        *secret_lines(report.secrets),
        "try: homeground search 'what you look for'",
    )


@verb(example="homeground search 'parse an HTTP date'")
def search(
    common: Common,
    query: Annotated[str, typer.Argument(help="Words or code.")],
    hits: Annotated[int | None, typer.Option("--hits", "-k", min=1, help="How many (else the index's top_k).")] = None,
) -> None:
    """Find code and text in the index, with file and lines."""
    workspace = common.workspace(create=False)

    from homeground.index import Index

    found = Index.open(workspace.index).search(query, hits)
    shown: list[RenderableType] = [part for number, hit in enumerate(found, 1) for part in _hit_lines(number, hit)]
    common.show({"query": query, "hits": [hit.to_json() for hit in found]}, *(shown or ["nothing found"]))


@verb(example="homeground tasks")
def tasks(common: Common) -> None:
    """Make verifiable look-up tasks from the docstrings of what is indexed, in train and held-out splits."""
    recipe = common.load_recipe()
    workspace = common.workspace(create=False)
    path = workspace.tasks / "tasks.jsonl"
    if common.dry_run:
        words = f"would make up to {recipe.tasks.train} train and {recipe.tasks.heldout} held-out tasks, in {path}"
        common.show({"train": recipe.tasks.train, "heldout": recipe.tasks.heldout, "path": str(path)}, words)
        return

    from homeground.base.workspace import RunFolder
    from homeground.pipeline import stages
    from homeground.pipeline.workbench import Workbench

    # The workspace's own tasks lie in a folder like a run's; every run copies them when it first needs them.
    with common.progress() as progress, Workbench(recipe, workspace, RunFolder(workspace.tasks), progress) as bench:
        stages.make_tasks(bench)
        found = bench.tasks
    document = {
        "train": len(found.train),
        "heldout": len(found.heldout),
        "removed_near_duplicates": found.removed_near_duplicates,
        "removed": found.removed,
        "path": str(path),
    }
    removed = ", ".join(f"{count} {reason}" for reason, count in found.removed.items())
    common.show(
        document,
        f"{len(found.train)} train tasks and {len(found.heldout)} held-out ones, from other files",
        f"left out: {found.removed_near_duplicates} near-duplicates of held-out questions, {removed}",
        f"written to {path}",
    )


def _hit_lines(number: int, hit: Hit) -> list[RenderableType]:
    from rich.text import Text

    head = Text.assemble(
        (f"{number:2d}  ", "dim"),
        (f"{hit.path}:{hit.start}-{hit.end}", "bold"),
        (f"  {hit.symbol or hit.kind}", "cyan"),
        (f"  {hit.score:.3f}", "dim"),
    )
    lines = [line for line in hit.text.splitlines() if line.strip()][:_SHOWN_LINES]
    return [head, *(Text(f"      {line}", style="dim") for line in lines)]
