"""Verbs that make what is searched and trained on: `index` and `tasks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.cli.listing import list_files, secret_lines
from homeground.cli.option import RecipeArgument
from homeground.cli.verb import Common, verb
from homeground.cli.watching import keep_fresh

if TYPE_CHECKING:
    from homeground.index import IndexReport


@verb(example="homeground index .")
def index(
    common: Common,
    roots: Annotated[list[Path] | None, RecipeArgument("corpus.roots")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it fresh until Ctrl-C; one line an event.")] = False,
) -> None:
    """Make folders searchable, or bring their index up to date; only what changed is read again."""
    recipe = common.load_recipe()
    folders = [Path(root) for root in recipe.corpus.roots]
    if common.dry_run:
        from homeground.corpus import Corpus

        list_files(common, Corpus(folders, recipe.corpus))
        return
    workspace = common.workspace()

    from homeground.index import Index, SentenceEmbedder

    config = recipe.index
    embedder = SentenceEmbedder(config.embedder, config.max_tokens, config.backend)

    def build() -> IndexReport:
        with common.progress() as progress:
            built, report = Index.build(
                workspace.index, folders, config, recipe.corpus, progress=progress, embedder=embedder
            )
        built.close()
        return report

    if watch:
        keep_fresh(common, build, folders, workspace.path)
        return
    report = build()
    skipped = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items()) or "none"
    common.show(
        report.to_json(),
        f"{report.files} files, {report.chunks} chunks ({report.embedded} embedded, {report.reused} reused), "
        f"{report.seconds:.1f} s; left out: {skipped}",
        *secret_lines(report.secrets),
        "try: homeground search 'what you look for'",
    )


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
        "try: homeground sft"
        if found.train
        else "no function here has a docstring that says what it does; see: homeground data --help",
    )
