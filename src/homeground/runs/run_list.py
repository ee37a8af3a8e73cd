"""What runs a workspace holds, read from their folders alone: for lists, comparisons and completion."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from homeground.base.errors import UsageError
from homeground.base.files import read_json, read_jsonl
from homeground.runs.workspace import RunFolder, Workspace


@dataclass(frozen=True)
class RunSummary:
    """One run in a line.

    Attributes:
        name: of the run.
        model: that the recipe names; None where the recipe is missing.
        finished: stages, in the order they finished.
        unfinished: the stage whose steps were logged last, when it has not finished; it runs, or was interrupted.
        steps: of each stage that logged steps, the last one.
        heldout: mean of each metric on held-out tasks after the last stage that was evaluated; empty where none was.
        bytes: on disk.
        changed: seconds since 1970 of the newest file that a stage writes.
    """

    name: str
    model: str | None
    finished: tuple[str, ...]
    unfinished: str | None
    steps: dict[str, int]
    heldout: dict[str, Any]
    bytes: int
    changed: float

    def to_json(self) -> dict[str, Any]:
        """One of `runs` of `homeground runs --json`."""
        return {**asdict(self), "finished": list(self.finished)}


def run_names(workspace: Workspace) -> list[str]:
    """Names of all runs, sorted."""
    if not workspace.runs.is_dir():
        return []
    return sorted(folder.name for folder in workspace.runs.iterdir() if folder.is_dir() and folder.name[0] != ".")


def run_summaries(workspace: Workspace) -> list[RunSummary]:
    """Every run, the one that changed last first."""
    found = [summary(workspace.run(name)) for name in run_names(workspace)]
    return sorted(found, key=lambda one: -one.changed)


def named_runs(workspace: Workspace, names: list[str]) -> list[RunFolder]:
    """The runs of these names, each once.

    Raises:
        UsageError: one does not exist; says which do.
    """
    known = run_names(workspace)
    for name in names:
        if name not in known:
            hint = f"runs here: {', '.join(known)}" if known else "make one with 'homeground demo'"
            raise UsageError(f"there is no run '{name}'", where=str(workspace.runs), hint=hint)
    return [workspace.run(name) for name in dict.fromkeys(names)]


def summary(run: RunFolder) -> RunSummary:
    """One run."""
    finished = tuple(run.finished())
    rows = read_jsonl(run.metrics_jsonl) if run.metrics_jsonl.is_file() else []
    steps = {str(row["stage"]): int(row["step"]) for row in rows}
    last = str(rows[-1]["stage"]) if rows else None
    written = [
        file.stat().st_mtime for file in (run.recipe, run.metrics_jsonl, run.state, run.metrics) if file.exists()
    ]
    return RunSummary(
        run.name,
        _model(run),
        finished,
        last if last not in finished else None,
        steps,
        heldout_results(run),
        folder_bytes(run.path),
        max(written, default=run.path.stat().st_mtime),
    )


def heldout_results(run: RunFolder) -> dict[str, Any]:
    """Metric -> interval of the last stage that was evaluated on held-out tasks; empty where none was."""
    if run.metrics.is_file():
        stages = read_json(run.metrics)["stages"]
        last = next((name for name in ("rl", "sft", "base") if name in stages), None)
        return stages[last] if last else {}
    return read_json(run.results)["stages"].get("after", {}) if run.results.is_file() else {}


def recipe_settings(run: RunFolder) -> dict[str, Any]:
    """Every setting of the run's recipe by its dotted key."""
    return dict(_flat(_recipe(run), ""))


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for base, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(base, name))  # noqa: PTH118
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def users_of(folder: Path) -> list[int]:
    """Processes, ours aside, that have a file below the folder open; those of other people cannot be seen."""
    import psutil

    inside = str(folder.resolve()) + os.sep
    found: list[int] = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if any(file.path.startswith(inside) for file in process.open_files()):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def _recipe(run: RunFolder) -> dict[str, Any]:
    if not run.recipe.is_file():
        return {}
    read = yaml.safe_load(run.recipe.read_text("utf-8"))
    return read if isinstance(read, dict) else {}


def _model(run: RunFolder) -> str | None:
    name = (_recipe(run).get("model") or {}).get("name")
    return str(name) if name else None


def _flat(values: dict[str, Any], above: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{above}{name}.") if isinstance(value, dict) else [(f"{above}{name}", value)]
    return found
