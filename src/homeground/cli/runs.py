"""Verbs that keep a workspace in order: `runs` and `clean`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import HomegroundError, UsageError
from homeground.cli.complete import run_completion
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from homeground.pipeline.run_comparison import Comparison
    from homeground.runs.reclaim import Reclaimable
    from homeground.runs.run_list import RunSummary
    from homeground.runs.workspace import RunFolder


class RunsKind(StrEnum):
    """What `runs` does."""

    LIST = "list"
    COMPARE = "compare"
    REMOVE = "remove"


Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@verb(example="homeground runs")
def runs(
    common: Common,
    kind: Annotated[
        RunsKind, typer.Argument(help="list; compare: two or more, side by side; remove: delete their folders.")
    ] = RunsKind.LIST,
    names: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", autocompletion=run_completion)] = None,
    yes: Yes = False,
) -> None:
    """List the runs of this workspace, compare some of them, or remove them."""
    from homeground.runs.run_list import named_runs, run_summaries

    workspace = common.workspace(create=False)
    given = [*(names or []), *([common.run] if common.run else [])]
    chosen = named_runs(workspace, given)
    if kind is RunsKind.COMPARE:
        _compare(common, chosen)
    elif kind is RunsKind.REMOVE:
        _remove(common, chosen, yes)
    else:
        found = [one for one in run_summaries(workspace) if not given or one.name in given]
        last = _next(found) if found else "no run yet; make one with: homeground sft"
        common.show({"runs": [one.to_json() for one in found]}, *([_list_table(found)] if found else []), last)


@verb(example="homeground clean --dry-run")
def clean(
    common: Common,
    models: Annotated[
        bool, typer.Option("--models", help="Also converted models, which all workspaces share.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Free disk: checkpoints of finished stages and what is made again when needed. Adapters and results stay."""
    from homeground.runs.reclaim import free, reclaimable

    found = reclaimable(common.workspace(create=False), models=models)
    todo = [one for one in found if not one.used_by]
    document: dict[str, Any] = {"items": [_item(one) for one in found], "freed_bytes": 0}
    if common.dry_run or not todo:
        total = sum(one.bytes for one in todo)
        words = f"would free {_size(total)}" if todo else "nothing to free"
        common.show(document, *([_clean_table(found)] if found else []), words)
        return
    common.tell(_clean_table(found))
    _ask(f"delete these {len(todo)}?", yes, "homeground clean")
    for one in todo:
        free(one)
    freed = sum(one.bytes for one in todo)
    common.show({**document, "freed_bytes": freed}, f"freed {_size(freed)}")


def _compare(common: Common, chosen: list[RunFolder]) -> None:
    from homeground.pipeline.run_comparison import compare_runs

    if len(chosen) < 2:
        raise UsageError(
            "a comparison wants two runs or more", where="homeground runs compare", hint="list them: homeground runs"
        )
    found = compare_runs(chosen)
    common.show(found.to_json(), *_comparison(found))


def _remove(common: Common, chosen: list[RunFolder], yes: bool) -> None:
    from homeground.runs.run_list import folder_bytes, users_of

    if not chosen:
        raise UsageError(
            "no run to remove was named", where="homeground runs remove", hint="list them: homeground runs"
        )
    size = sum(folder_bytes(run.path) for run in chosen)
    listed = ", ".join(run.name for run in chosen)
    document = {"removed": [run.name for run in chosen], "freed_bytes": size}
    if common.dry_run:
        common.show(document, f"would remove {listed} ({_size(size)})")
        return
    for run in chosen:
        if users := users_of(run.path):
            raise HomegroundError(
                f"the run '{run.name}' is in use by process {', '.join(map(str, users))}",
                where=str(run.path),
                hint="stop it first (Ctrl-C saves what was reached)",
            )
    _ask(f"remove {listed} ({_size(size)}), adapters and results included?", yes, "homeground runs remove")
    for run in chosen:
        with run.locked():
            shutil.rmtree(run.path)
    common.show(document, f"removed {listed}: {_size(size)}")


def _ask(question: str, yes: bool, where: str) -> None:
    """Return when the answer is yes; a terminal that cannot be asked is no answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "nothing was deleted: there is no terminal to ask at", where=where, hint="say --yes, or look with --dry-run"
        )
    if not typer.confirm(question, err=True):
        raise HomegroundError("nothing was deleted", where=where)


def _next(found: Sequence[RunSummary]) -> str:
    if len(found) > 1:
        return f"try: homeground runs compare {found[1].name} {found[0].name}"
    one = found[0]
    if one.unfinished:
        return f"try: homeground {one.unfinished} --run {one.name} --resume"
    if not one.heldout and "sft" in one.finished:
        return f"try: homeground eval agent --run {one.name}"
    return f"try: homeground rollouts {one.name}"


def _list_table(found: Sequence[RunSummary]) -> Table:
    from datetime import datetime

    from rich.table import Table
    from rich.text import Text

    from homeground.evaluate.stats import format_interval

    table = Table("run", "model", "finished", "last step", "held-out reward", "size", "changed")
    for one in found:
        last = f"{one.unfinished} {one.steps[one.unfinished]}, not finished" if one.unfinished else ""
        when = datetime.fromtimestamp(one.changed).strftime("%Y-%m-%d %H:%M")
        done = " ".join(stage for stage in one.finished if not stage.startswith("eval"))
        reward = format_interval(one.heldout["reward"]) if one.heldout else ""
        cells = [one.name, one.model or "", done, last, reward, _size(one.bytes), when]
        table.add_row(*map(Text, cells))
    return table


def _comparison(found: Comparison) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from homeground.evaluate.stats import format_interval

    names = [one.name for one in found.runs]
    reached = Table("held-out tasks", *names, title="mean [95% interval]", title_justify="left")
    metrics = dict.fromkeys(metric for one in found.runs for metric in one.heldout)
    for metric in metrics:
        reached.add_row(
            metric.replace("_", " "),
            *(format_interval(one.heldout[metric]) if metric in one.heldout else "" for one in found.runs),
        )
    for pair, differences in found.paired.items():
        reached.add_section()
        for metric, difference in differences.items():
            later = found.runs.index(next(one for one in found.runs if pair == f"{one.name}-{names[0]}"))
            cells = [""] * len(names)
            cells[later] = format_interval(difference, signed=True)
            reached.add_row(f"{metric.replace('_', ' ')}, paired with {names[0]}", *cells)
    settings = Table("setting", *names, title="what their recipes say differently", title_justify="left")
    for key, values in found.settings.items():
        settings.add_row(key, *(Text(str(value)) for value in values))
    shown: list[RenderableType] = [reached] if metrics else [Text("none of them was evaluated on held-out tasks")]
    shown += [settings] if found.settings else [Text("their recipes say the same")]
    return [*shown, *(Text(f"no paired difference for {name}: {why}") for name, why in found.unpaired.items())]


def _clean_table(found: Sequence[Reclaimable]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("size", "what", "deleting it costs")
    for one in found:
        kept = f"kept: in use by process {', '.join(map(str, one.used_by))}" if one.used_by else one.cost
        table.add_row(_size(one.bytes), Text(one.what), kept)
    return table


def _item(one: Reclaimable) -> dict[str, Any]:
    return {"path": str(one.path), "what": one.what, "bytes": one.bytes, "used_by": list(one.used_by)}


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
