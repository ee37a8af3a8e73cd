"""Shared parts of the training drivers: the folder of a run, and the record that they return."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from homeground.base.errors import UsageError
from homeground.base.progress import Progress
from homeground.runs.workspace import RunFolder, open_workspace


@dataclass(frozen=True)
class TrainingRun[Metrics: Mapping[str, object]]:
    """Results of a training run.

    Attributes:
        folder: with ``metrics.jsonl``, ``tensorboard``, ``checkpoints`` and ``adapter``; ``rollouts`` after GRPO.
        adapter: the trained adapter, PEFT format.
        history: metrics of each step of this call.
        summary: the result, on one line.
    """

    folder: Path
    adapter: Path
    history: list[Metrics]
    summary: str


@contextlib.contextmanager
def open_run(
    folder: RunFolder | Path | str | None, kind: str, *, resume: bool, quiet: bool, progress: Progress | None = None
) -> Generator[tuple[RunFolder, Progress]]:
    """Lock the folder of a run and open its progress display.

    Args:
        folder: by default the next free ``KIND-N`` of the workspace. A :class:`RunFolder` belongs to a command, which
            has locked it and has checked what it holds.
        kind: of the training: sft, dpo or grpo.
        resume: the folder may hold checkpoints.
        quiet: show nothing.
        progress: an open display to use instead of a new one.

    Raises:
        UsageError: the folder holds another run, or the run to resume is not named.
        HomegroundError: another process writes to the run.
    """
    with contextlib.ExitStack() as open_:
        run = (
            folder if isinstance(folder, RunFolder) else open_.enter_context(_run_folder(folder, kind, resume).locked())
        )
        yield run, progress or open_.enter_context(Progress(quiet=quiet))


def _run_folder(folder: Path | str | None, kind: str, resume: bool) -> RunFolder:
    if folder is None:
        runs = open_workspace().runs
        if resume:
            raise UsageError("there is no telling which run to resume", hint="give folder=... of the run")
        return RunFolder(next(path for n in itertools.count(1) if not (path := runs / f"{kind}-{n}").exists()))
    run = RunFolder(Path(folder))
    if not resume and any(run.checkpoints.rglob("step-*.ckpt")):
        raise UsageError(
            "this folder holds a run already",
            where=str(run.path),
            hint="give resume=True to go on with it, or another folder",
        )
    return run
