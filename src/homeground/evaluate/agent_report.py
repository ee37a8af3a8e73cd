"""The report page of `rl run`: an agent of one's own on held-out tasks, before and after training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from homeground.base.files import atomic_write_text
from homeground.evaluate.report import render_page
from homeground.evaluate.stats import format_interval
from homeground.evaluate.verdict import in_words, mark
from homeground.runs.rolloutlog import GroupRecord

MOMENTS = ("before", "after")


def write_agent_report(
    path: Path,
    results: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    questions: Sequence[str],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    recipe: Mapping[str, Any],
    groups: Sequence[GroupRecord] = (),
) -> None:
    """Write ``report.html`` of such a run, whole or not at all.

    Args:
        path: of the page.
        results: the content of ``results.json``.
        steps: rows of ``metrics.jsonl``, in order.
        questions: each held-out task in words.
        answers: rows of ``evaluations/MOMENT-answers.jsonl`` by moment, in the order of the tasks.
        recipe: what the run was made with.
        groups: rollouts that training tried, see :func:`~homeground.evaluate.tried.tried`.
    """
    stages, paired = results["stages"], results["paired"]
    names = list(paired)
    heldout = str(results["heldout_tasks"])
    page = render_page(
        results,
        [in_words("GRPO", "the agent before", name, paired[name]) for name in names],
        steps,
        _rollouts(questions, answers),
        recipe=recipe,
        groups=groups,
        stage_rows=[
            ["", "tasks", *names],
            *([moment, heldout, *(format_interval(stages[moment][name]) for name in names)] for moment in MOMENTS),
        ],
        pair_rows=[
            ["difference", "tasks", *names],
            ["after minus before", heldout, *(format_interval(paired[name], signed=True) for name in names)],
        ],
        pair_marks=[[mark(paired[name]) for name in names]],
        bars=[],
        scripted=False,
        turns=False,
    )
    atomic_write_text(path, page)


def _rollouts(questions: Sequence[str], answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Answers as the page shows rollouts, those of one task beside each other."""
    return [
        {
            "task": f"{place} {question}",
            "question": question,
            "gold": "",
            "stage": moment,
            "messages": [{"role": "assistant", "content": _said(row)}],
            "reward": row["reward"],
            "parts": row["parts"],
        }
        for moment in MOMENTS
        for place, (question, row) in enumerate(zip(questions, answers[moment], strict=True))
    ]


def _said(row: Mapping[str, Any]) -> str:
    if row["error"]:
        return f"failed: {row['error']}"
    answer = row["answer"]
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, indent=1)
