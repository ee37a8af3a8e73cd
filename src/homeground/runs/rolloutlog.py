"""Log of each training step's rollouts: `rollouts/`, one file a step, one JSON line a group; total size is bounded.

`homeground.training.rollout_records` makes the records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_text, read_jsonl
from homeground.runs.workspace import RunFolder


class ToolCallRecord(TypedDict):
    """A tool call as OpenAI has it: the arguments are a text."""

    name: str
    arguments: str


class TurnRecord(TypedDict):
    """A turn: the text that the model read since the turn before, and the text that it wrote."""

    read: str
    wrote: str
    tool_calls: list[ToolCallRecord]
    malformed_calls: NotRequired[int]
    prompt_tokens: int
    tokens: int
    finish_reason: str
    weights_version: int
    new_path: bool


class RolloutRecord(TypedDict):
    """A rollout; ``origin`` is "sampled" unless somebody else than the policy wrote it."""

    id: str
    origin: str
    reward: float | None
    parts: dict[str, float]
    advantage: float | None
    error: str | None
    turns: list[TurnRecord]


class GroupRecord(TypedDict):
    """The rollouts of one task of a step."""

    step: int
    group: int
    task: str
    rollouts: list[RolloutRecord]


class RolloutLog:
    """Keeps the rollouts of a run's steps; call it with a step and its groups.

    When they outgrow the limit, steps are thinned out evenly: the one whose neighbours lie closest together goes; the
    first and the newest stay longest.

    Args:
        run: gets the folder `rollouts`.
        done: steps that a checkpoint holds; what was kept of later ones is dropped, they are done again.
        limit_mb: of all files together; of a single step that is larger, the first groups that fit are kept.
    """

    def __init__(self, run: RunFolder, *, done: int, limit_mb: float = 64) -> None:
        self._run = run
        self._limit = int(limit_mb * 1e6)
        self._sizes = {step: _file(run, step).stat().st_size for step in logged_steps(run) if step <= done}
        for step in set(logged_steps(run)) - set(self._sizes):
            _file(run, step).unlink()

    def __call__(self, step: int, groups: Sequence[GroupRecord]) -> None:
        """Keep one step."""
        lines: list[str] = []
        room = self._limit
        for group in groups:
            line = json.dumps(group, ensure_ascii=False, allow_nan=False) + "\n"
            room -= len(line.encode())
            if room < 0:
                break
            lines.append(line)
        atomic_write_text(_file(self._run, step), "".join(lines))
        self._sizes[step] = _file(self._run, step).stat().st_size
        while sum(self._sizes.values()) > self._limit and len(self._sizes) > 1:
            gone = _most_crowded(sorted(self._sizes))
            _file(self._run, gone).unlink()
            del self._sizes[gone]


def logged_steps(run: RunFolder) -> list[int]:
    """The steps whose rollouts were kept, in order."""
    return sorted(int(file.stem) for file in _folder(run).glob("*.jsonl") if file.stem.isdecimal())


def read_rollouts(run: RunFolder, step: int) -> list[GroupRecord]:
    """The groups of a step.

    Raises:
        HomegroundError: that step was not kept.
    """
    if not _file(run, step).is_file():
        kept = logged_steps(run)
        raise HomegroundError(
            f"no rollouts of step {step} were kept",
            where=str(_folder(run)),
            hint=f"kept steps: {', '.join(map(str, kept))}"
            if kept
            else "train first, with rl.keep_rollouts_mb above 0",
        )
    return cast("list[GroupRecord]", read_jsonl(_file(run, step)))


def best_and_worst(group: GroupRecord) -> tuple[RolloutRecord, RolloutRecord] | None:
    """The rollouts of a group with the highest and the lowest reward; None when fewer than two have one."""
    rewarded = [rollout for rollout in group["rollouts"] if rollout["reward"] is not None]
    if len(rewarded) < 2:
        return None
    ordered = sorted(rewarded, key=_reward)
    return ordered[-1], ordered[0]


def spread(group: GroupRecord) -> float:
    """Difference of the highest and the lowest reward of a group; 0 when there is nothing to compare."""
    pair = best_and_worst(group)
    return _reward(pair[0]) - _reward(pair[1]) if pair else 0.0


def _reward(rollout: RolloutRecord) -> float:
    assert rollout["reward"] is not None
    return rollout["reward"]


def _most_crowded(steps: list[int]) -> int:
    """Which of the steps between the first and the last is missed least; the first where there is none between."""
    if len(steps) < 3:
        return steps[0]
    return min(zip(steps, steps[1:], steps[2:], strict=False), key=lambda near: near[2] - near[0])[1]


def _folder(run: RunFolder) -> Path:
    return run.path / "rollouts"


def _file(run: RunFolder, step: int) -> Path:
    return _folder(run) / f"{step:06d}.jsonl"
