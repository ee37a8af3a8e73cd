"""How well an agent did: one outcome a held-out task, kept on disk so that stages can be compared later."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl
from homeground.evaluate.stats import RESAMPLES, Interval, mean_interval, paired_difference

if TYPE_CHECKING:
    from homeground.agents import LookupOutcome
    from homeground.tasks import LookupTask

METRICS = ("reward", "success", "reciprocal_rank", "well_formed")


@dataclass(frozen=True)
class TaskOutcome:
    """How one rollout of one task went; every number lies in [0, 1].

    Attributes:
        task: id of the task.
        reward: the rollout's reward.
        success: 1 when the right function was cited, else 0.
        reciprocal_rank: 1 / rank of the right function in the agent's own search, 0 when absent.
        well_formed: 1 when every call was well-formed, else 0.
    """

    task: str
    reward: float
    success: float
    reciprocal_rank: float
    well_formed: float


def outcome_of(lookup: LookupOutcome) -> TaskOutcome:
    """The numbers of a finished look-up rollout."""
    assert lookup.reward.value is not None
    return TaskOutcome(
        task=lookup.task,
        reward=lookup.reward.value,
        success=float(lookup.success),
        reciprocal_rank=lookup.reciprocal_rank,
        well_formed=float(lookup.well_formed),
    )


def rollout_record(task: LookupTask, lookup: LookupOutcome, stage: str) -> dict[str, Any]:
    """A finished look-up rollout as the report shows it: the conversation, its reward and the parts of it."""
    return {
        "task": task.id,
        "question": task.question,
        "gold": task.gold,
        "stage": stage,
        "messages": lookup.messages,
        "reward": lookup.reward.value,
        "parts": lookup.reward.parts,
    }


def evaluate_rollouts(
    outcomes: Sequence[TaskOutcome], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Mean and 95% interval of every metric over the tasks.

    Raises:
        HomegroundError: no outcomes, or two for one task (intervals are over tasks).
    """
    columns = _columns(outcomes)
    return {
        name: mean_interval(list(column.values()), resamples=resamples, seed=seed) for name, column in columns.items()
    }


def compare_rollouts(
    after: Sequence[TaskOutcome], before: Sequence[TaskOutcome], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Paired difference `after - before` of every metric over the same tasks.

    Raises:
        HomegroundError: the two did not see the same tasks, or saw none.
    """
    columns, earlier = _columns(after), _columns(before)
    return {
        name: paired_difference(column, earlier[name], resamples=resamples, seed=seed)
        for name, column in columns.items()
    }


def save_outcomes(path: Path, outcomes: Iterable[TaskOutcome]) -> None:
    """Write outcomes as JSON lines, whole or not at all."""
    atomic_write_jsonl(path, map(asdict, outcomes))


def load_outcomes(path: Path) -> list[TaskOutcome]:
    """Read outcomes back.

    Raises:
        HomegroundError: the file is missing, or a line of it is not an outcome.
    """
    again = "evaluate that stage again: homeground eval agent"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HomegroundError(f"the stage's outcomes cannot be read: {error}", where=str(path), hint=again) from error
    outcomes: list[TaskOutcome] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            outcomes.append(_outcome(json.loads(line)))
        except (TypeError, ValueError) as error:
            raise HomegroundError(
                f"this line is not a task's outcome: {error}", where=f"{path}:{number}", hint=again
            ) from error
    return outcomes


def _outcome(record: Any) -> TaskOutcome:
    names = {field.name for field in fields(TaskOutcome)}
    if not isinstance(record, dict) or set(record) != names:
        raise ValueError(f"expected an object with {', '.join(sorted(names))}")
    outcome = TaskOutcome(task=str(record["task"]), **{name: float(record[name]) for name in METRICS})
    for name in METRICS:
        if not (math.isfinite(value := getattr(outcome, name)) and 0 <= value <= 1):
            raise ValueError(f"{name} is {value}, outside [0, 1]")
    return outcome


def _columns(outcomes: Sequence[TaskOutcome]) -> dict[str, dict[str, float]]:
    """Each metric's number of each task: metric -> task id -> number."""
    columns: dict[str, dict[str, float]] = {name: {} for name in METRICS}
    for outcome in outcomes:
        if outcome.task in columns["reward"]:
            raise HomegroundError(
                f"task {outcome.task} has more than one outcome",
                where="agent evaluation",
                hint="keep one rollout a task: intervals are over tasks",
            )
        for name in METRICS:
            columns[name][outcome.task] = getattr(outcome, name)
    return columns
