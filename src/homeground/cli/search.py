"""Verbs that make what is searched and trained on: `index` and `tasks`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import HomegroundError
from homeground.base.terminal import json_line, printable
from homeground.cli.option import RecipeArgument
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.text import Text

    from homeground.corpus import Corpus, FoundSecret, Skip
    from homeground.index import IndexReport

_SHOWN = 20


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

        _list_files(common, Corpus(folders, recipe.corpus))
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
        _keep_fresh(common, build, folders, workspace.path)
        return
    report = build()
    skipped = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items()) or "none"
    common.show(
        report.to_json(),
        f"{report.files} files, {report.chunks} chunks ({report.embedded} embedded, {report.reused} reused), "
        f"{report.seconds:.1f} s; left out: {skipped}",
        *_secret_lines(report.secrets),
        "try: homeground search 'what you look for'",
    )


def _list_files(common: Common, corpus: Corpus) -> None:
    """Reads the corpus as indexing would, and says what it found; nothing is written.

    As JSON every file that is left out is listed, and every secret; for people the first of each reason are.
    """
    from homeground.corpus import FoundSecret, LeftOutError

    left_out: list[dict[str, str]] = []

    def note(root: Path, path: str, reason: Skip) -> None:
        left_out.append({"root": str(root), "path": _encodable(path) or "./", "reason": str(reason)})

    corpus.on_skip = note
    files, size = 0, 0
    secrets: list[FoundSecret] = []
    with common.progress() as progress:
        bar = progress.bar("reading files")
        for number, file in corpus:
            bar.advance()
            try:
                secrets += [FoundSecret(file.path, one.line, one.kind) for one in file.text.secrets]
            except LeftOutError as error:
                corpus.leave_out(number, file.path, error.reason)
                continue
            files, size = files + 1, size + len(file.data)
        bar.done(f"{files} files")
    document: dict[str, Any] = {
        "roots": [str(root) for root in corpus.roots],
        "files": files,
        "bytes": size,
        "skipped": {str(reason): count for reason, count in sorted(corpus.skipped.items())},
        "left_out": left_out,
        "secrets": [one.to_json() for one in secrets],
    }
    common.show(
        document,
        f"would index {files} files ({size / 1e6:.1f} MB) of {printable(', '.join(map(str, corpus.roots)))}",
        *_left_out_lines(corpus, left_out),
        *_secret_lines(secrets),
    )


def _secret_lines(secrets: Sequence[FoundSecret]) -> list[Text]:
    """Where secrets stand, a line each: never what they are."""
    if not secrets:
        return []
    places = [f"{one.path}:{one.line}  {one.kind}" for one in secrets]
    return _listed("secrets, replaced in what is indexed", places)


def _encodable(path: str) -> str:
    """A path that can be printed, whatever bytes its name has."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _left_out_lines(corpus: Corpus, left_out: Sequence[dict[str, str]]) -> list[Text]:
    return [
        line
        for reason, _ in corpus.skipped.most_common()
        for line in _listed(f"left out, {reason}", [one["path"] for one in left_out if one["reason"] == reason])
    ]


def _listed(title: str, places: Sequence[str]) -> list[Text]:
    from rich.text import Text

    more = [f"  and {len(places) - _SHOWN} more (--json lists all)"] if len(places) > _SHOWN else []
    shown = [f"  {printable(place)}" for place in places[:_SHOWN]]
    return [Text(line) for line in (f"{title}: {len(places)}", *shown, *more)]


def _keep_fresh(common: Common, build: Callable[[], IndexReport], roots: Sequence[Path], workspace: Path) -> None:
    """Indexes and prints a line after each change, until Ctrl-C."""
    from homeground.index.watch import watch

    for event in watch(build, roots, workspace):
        if common.json:
            print(json_line(event.to_json()), flush=True)
        else:
            print(printable(f"{time.strftime('%H:%M:%S')}  {_event_words(event)}"), flush=True)


def _event_words(event: IndexReport | HomegroundError) -> str:
    if isinstance(event, HomegroundError):
        return f"error: {event.message}"
    changed = f"{event.changed} files new or changed, {event.gone} gone"
    return f"{changed}; {event.embedded} of {event.chunks} chunks embedded, {event.seconds:.1f} s"


@verb(example="homeground tasks")
def tasks(common: Common) -> None:
    """Make verifiable look-up tasks from the index's documentation comments, in train and held-out splits."""
    recipe = common.load_recipe()
    workspace = common.workspace(create=False)
    path = workspace.tasks / "tasks.jsonl"
    if common.dry_run:
        words = f"would make up to {recipe.tasks.train} train and {recipe.tasks.heldout} held-out tasks, in {path}"
        common.show({"train": recipe.tasks.train, "heldout": recipe.tasks.heldout, "path": str(path)}, words)
        return

    from homeground.pipeline import stages
    from homeground.pipeline.task_report import TaskReport
    from homeground.pipeline.workbench import Workbench
    from homeground.runs.workspace import RunFolder

    # The workspace's own tasks lie in a folder like a run's; every run copies them when it first needs them.
    with common.progress() as progress, Workbench(recipe, workspace, RunFolder(workspace.tasks), progress) as bench:
        stages.make_tasks(bench)
        found = bench.tasks
    report = TaskReport.of(found, path, seed=recipe.seed)
    common.show(
        report.to_json(),
        *report.lines(),
        f"written to {path}",
        "try: homeground sft"
        if found.train
        else "search finds no definition by its comment; train on all with tasks.findable: 0 in the recipe",
    )
