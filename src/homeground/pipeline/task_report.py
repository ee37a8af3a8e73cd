"""Summarize a set of tasks: counts, skipped candidates, the smallest difference that can be shown, tasks to read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.base.record import Record
from homeground.evaluate.stats import PAIRED_SD, smallest_difference
from homeground.pipeline.workbench import TASKS_FILE
from homeground.runs.workspace import RunFolder, Workspace
from homeground.tasks.queries import QueryKind

if TYPE_CHECKING:
    from homeground.tasks import LookupTask, TaskSet

FEW_HELDOUT = 60
"""Below this number of held-out tasks, a warning is printed before training."""
SAMPLED = 20


@dataclass(frozen=True, slots=True)
class TaskCount(Record):
    """Number of tasks of one kind in one language."""

    kind: str
    language: str
    train: int
    heldout: int


@dataclass(frozen=True, slots=True)
class SampledTask(Record):
    """A task to read."""

    split: str
    question: str
    gold: str


@dataclass(frozen=True, slots=True)
class TaskReport(Record):
    """Result of `homeground tasks`.

    Attributes:
        train: number of train tasks.
        heldout: number of held-out tasks.
        counts: the same by kind and language, largest first.
        removed_near_duplicates: train candidates that nearly repeat a held-out question.
        removed: candidates left out for other reasons, largest first.
        smallest_difference: difference of mean reward that the held-out tasks can show, paired, at 95%; null if none
            is held out.
        assumed_sd: standard deviation of a task's difference of reward that this assumes.
        sample: tasks to read.
        warning: advice if there are few held-out tasks, else null.
        path: the file with the tasks.
    """

    train: int
    heldout: int
    counts: tuple[TaskCount, ...]
    removed_near_duplicates: int
    removed: dict[str, int]
    smallest_difference: float | None
    assumed_sd: float
    sample: tuple[SampledTask, ...]
    warning: str | None
    path: str

    @classmethod
    def of(cls, tasks: TaskSet, path: Path, *, seed: int) -> TaskReport:
        """Summarize tasks; the sample is drawn by `seed`."""
        both = [*tasks.train, *tasks.heldout]
        sample = random.Random(seed).sample(both, min(SAMPLED, len(both)))
        held = len(tasks.heldout)
        return cls(
            train=len(tasks.train),
            heldout=held,
            counts=tuple(_counts(tasks.train, tasks.heldout)),
            removed_near_duplicates=tasks.removed_near_duplicates,
            removed=dict(sorted(tasks.removed.items(), key=lambda item: -item[1])),
            smallest_difference=round(smallest_difference(held), 4) if held else None,
            assumed_sd=PAIRED_SD,
            sample=tuple(SampledTask(one.split, one.question, one.gold) for one in sample),
            warning=few_heldout(held),
            path=str(path),
        )

    def lines(self) -> list[str]:
        """The report as lines of text."""
        rows = [f"{self.train} train tasks and {self.heldout} held-out tasks, from other files"]
        rows += [f"  {one.kind}, {one.language}: {one.train} train, {one.heldout} held-out" for one in self.counts]
        left_out = {**self.removed, "near-duplicate of a held-out question": self.removed_near_duplicates}
        largest = sorted(left_out.items(), key=lambda item: -item[1])
        rows += ["left out: " + (", ".join(f"{count:,} {reason}" for reason, count in largest if count) or "none")]
        if self.smallest_difference is not None:
            rows.append(
                f"With {self.heldout} held-out tasks, a paired comparison of two models shows a difference of mean "
                f"reward of {self.smallest_difference:.3f} or more (95%; assumes that a task's difference has a "
                f"standard deviation of {self.assumed_sd})."
            )
        rows += [f"{len(self.sample)} tasks to read:"]
        rows += [f"  {one.question}\n    -> {one.gold} ({one.split})" for one in self.sample]
        return [*rows, *([f"warning: {self.warning}"] if self.warning else [])]


def few_heldout(count: int) -> str | None:
    """Advice if there are so few held-out tasks that their mean says little."""
    if count >= FEW_HELDOUT:
        return None
    shown = (
        f"only a difference of {smallest_difference(count):.2f} or more can be shown" if count else "none can be shown"
    )
    return (
        f"{count} held-out tasks are few, and {shown}; index more files or raise tasks.heldout and "
        f"tasks.heldout_share, for {FEW_HELDOUT} or more"
    )


def heldout_tasks(run: RunFolder, workspace: Workspace) -> list[LookupTask]:
    """The held-out tasks that the run has, or would get from its workspace; none when there are none."""
    from homeground.tasks import TaskSet

    files = (run.path / TASKS_FILE, workspace.tasks / TASKS_FILE)
    file = next((file for file in files if file.is_file()), None)
    return [] if file is None else TaskSet.load(file).heldout


def _counts(train: Iterable[LookupTask], heldout: Iterable[LookupTask]) -> list[TaskCount]:
    learned, held = Counter(map(_group, train)), Counter(map(_group, heldout))
    every = learned + held
    return [TaskCount(*group, learned[group], held[group]) for group, _ in every.most_common()]


def _group(task: LookupTask) -> tuple[str, str]:
    from homeground.corpus import language_of

    language = language_of(task.path)
    return QueryKind.DOCSTRING, language.name if language is not None else "other"
