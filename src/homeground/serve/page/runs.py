"""What the page shows of runs: a list, live steps, what was measured, what was tried."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from homeground.base.files import read_json
from homeground.evaluate import read_metrics
from homeground.evaluate.curves import CURVES, MOVING_AVERAGE
from homeground.evaluate.stats import Interval, format_interval
from homeground.evaluate.tried import steps_tried
from homeground.evaluate.verdict import (
    in_words,
    mark,
    pair_marks,
    pair_rows,
    shows_gain,
    stage_rows,
    verdict,
)
from homeground.runs.rolloutlog import logged_steps, read_rollouts
from homeground.runs.run_list import recipe_settings, run_names
from homeground.runs.workspace import RunFolder, Workspace

MOST_BYTES = 4_000_000
"""Of metrics.jsonl in one answer; the page asks again at once for what is behind it."""
_TAIL = 1 << 16
_PATIENCE = 5.0
"""A run whose last step is older than so many of its steps has stopped."""
_LEAST_PATIENCE_S = 60.0


def listed(workspace: Workspace) -> dict[str, Any]:
    """`{"runs": [...]}`: every run with what it has reached, the one that was touched last first."""
    found = [_summary(workspace.run(name)) for name in run_names(workspace)]
    found = [one for one in found if one["at"]]
    return {"runs": sorted(found, key=lambda one: one["at"], reverse=True)}


def document(run: RunFolder) -> dict[str, Any]:
    """One run: its summary, the curves there may be, the before/after table, and how it was made."""
    recipe = run.recipe.read_text(encoding="utf-8") if run.recipe.is_file() else ""
    return {
        **_summary(run),
        "path": str(run.path),
        "kept": logged_steps(run),
        "curves": [
            {
                "key": curve.key,
                "stage": curve.stage,
                "title": curve.title,
                "note": curve.note,
                "average": MOVING_AVERAGE if curve.averaged else 1,
            }
            for curve in CURVES
        ],
        "measured": _measured(run),
        "recipe": recipe,
        "settings": recipe_settings(run),
    }


def steps_since(run: RunFolder, mark: str, skip: int) -> dict[str, Any]:
    """Whole lines of `metrics.jsonl` behind `skip` bytes of the file that `mark` names.

    Returns:
        `{"mark", "skip", "fresh", "more", "rows"}`: give the first two back to go on from here. `fresh` says that the
        rows begin at the first step: the file was written anew, as it is when a run goes on from a checkpoint.
    """
    try:
        stream = run.metrics_jsonl.open("rb")
    except FileNotFoundError:
        return {"mark": "", "skip": 0, "fresh": True, "more": False, "rows": []}
    with stream:
        seen = os.fstat(stream.fileno())
        now = f"{seen.st_dev}-{seen.st_ino}"
        fresh = now != mark or skip > seen.st_size
        begin = 0 if fresh else skip
        stream.seek(begin)
        read = stream.read(MOST_BYTES)
    whole = read[: read.rfind(b"\n") + 1]
    rows = [json.loads(line) for line in whole.splitlines()]
    return {"mark": now, "skip": begin + len(whole), "fresh": fresh, "more": len(read) == MOST_BYTES, "rows": rows}


def rollouts(run: RunFolder, step: int) -> dict[str, Any]:
    """`{"step", "groups"}`: what one step tried.

    Raises:
        HomegroundError: that step was not kept.
    """
    shown = steps_tried(read_rollouts(run, step))
    return {"step": step, "groups": shown[0]["groups"] if shown else []}


def _summary(run: RunFolder) -> dict[str, Any]:
    last, at = _last_step(run)
    finished = run.finished()
    at = max([at, *(facts["finished"] for facts in finished.values())])
    stage = last.get("stage")
    return {
        "name": run.name,
        "state": _state(run, last, at),
        "finished": list(finished),
        "stage": stage,
        "step": last.get("step"),
        "eta_s": last.get("eta_s"),
        "at": at,
        "measured": run.metrics.is_file() or run.results.is_file(),
    }


def _state(run: RunFolder, last: dict[str, Any], at: float) -> str:
    """Whether a run is at work, is done, or stopped on the way, as far as its files tell."""
    if not last or last.get("stage") in run.finished() or last.get("eta_s") == 0:
        return "finished"
    patience = max(_LEAST_PATIENCE_S, _PATIENCE * float(last.get("seconds", 0)))
    return "running" if time.time() - at < patience else "stopped"


def _last_step(run: RunFolder) -> tuple[dict[str, Any], float]:
    """The last row of `metrics.jsonl` and when it was written; nothing and 0 where there is none."""
    try:
        stream = run.metrics_jsonl.open("rb")
    except FileNotFoundError:
        return {}, 0.0
    with stream:
        seen = os.fstat(stream.fileno())
        stream.seek(max(0, seen.st_size - _TAIL))
        lines = stream.read().split(b"\n")
    return (json.loads(lines[-2]) if len(lines) > 1 else {}), seen.st_mtime


def _measured(run: RunFolder) -> dict[str, Any] | None:
    """The before/after table in words and cells, as the report has it; None before anything was measured."""
    if not run.metrics.is_file():
        return _own_agent(run)
    metrics = read_metrics(run.metrics)
    sentences = verdict(metrics)
    return {
        "gained": not sentences[0].startswith("No gain"),
        "headline": sentences[0],
        "details": sentences[1:],
        "stages": stage_rows(metrics),
        "pairs": pair_rows(metrics),
        "marks": pair_marks(metrics),
        "costs": _costs(metrics["seconds"], metrics["peak_memory_mb"]),
    }


def _own_agent(run: RunFolder) -> dict[str, Any] | None:
    """The same of a run on an agent of the user's own, whose rewards have parts of its own."""
    if not run.results.is_file():
        return None
    results = read_json(run.results)
    paired: dict[str, Interval] = results["paired"]
    head = ["", "tasks", *paired]
    return {
        "gained": shows_gain(paired["reward"]),
        "headline": in_words("GRPO", "the agent before it", "reward", paired["reward"]),
        "details": [],
        "stages": [
            head,
            *(
                [moment, str(measured["reward"]["n"]), *(format_interval(measured[name]) for name in paired)]
                for moment, measured in results["stages"].items()
            ),
        ],
        "pairs": [
            head,
            [
                "after - before",
                str(paired["reward"]["n"]),
                *(format_interval(one, signed=True) for one in paired.values()),
            ],
        ],
        "marks": [[mark(one) for one in paired.values()]],
        "costs": _costs(results["seconds"], results["peak_memory_mb"]),
    }


def _costs(seconds: Mapping[str, float], memory_mb: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"stage": stage, "seconds": spent, "memory_mb": memory_mb.get(stage)} for stage, spent in seconds.items()]
