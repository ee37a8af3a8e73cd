"""What training tried, as the report shows it: some steps, their groups, best and worst side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homeground.runs.rolloutlog import GroupRecord, RolloutRecord, best_and_worst, logged_steps, read_rollouts, spread
from homeground.runs.workspace import RunFolder

STEPS_SHOWN = 5
"""Steps of a run that the report shows: the first, the last, and some between."""
GROUPS_SHOWN = 6
"""Groups of a step that the report shows: those whose rewards differ most."""
_STRONG = 1.0
"""An advantage so large is coloured strongly."""


def tried(run: RunFolder) -> list[GroupRecord]:
    """The groups that a report shows of a run, step by step; none when it kept no rollouts."""
    kept = logged_steps(run)
    last = len(kept) - 1
    count = min(STEPS_SHOWN, len(kept))
    places = {round(n * last / max(1, count - 1)) for n in range(count)}
    groups: list[GroupRecord] = []
    for place in sorted(places):
        widest = sorted(read_rollouts(run, kept[place]), key=spread, reverse=True)[:GROUPS_SHOWN]
        groups += sorted(widest, key=lambda group: group["group"])
    return groups


def steps_tried(groups: Sequence[GroupRecord]) -> list[dict[str, Any]]:
    """Groups by step, each with its rollouts in pairs of best and worst, then the others."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for group in groups:
        pair = best_and_worst(group)
        first = [] if pair is None or spread(group) == 0 else list(pair)
        others = [rollout for rollout in group["rollouts"] if rollout not in first]
        steps.setdefault(group["step"], []).append(
            {
                "number": group["group"],
                "task": group["task"],
                "rewards": [r["reward"] for r in group["rollouts"]],
                "pair": [_shown(r, title) for r, title in zip(first, ("best", "worst"), strict=False)],
                "others": [_shown(r, "") for r in others],
            }
        )
    return [{"step": step, "groups": found} for step, found in steps.items()]


def _shown(rollout: RolloutRecord, title: str) -> dict[str, Any]:
    return {
        **rollout,
        "title": title or rollout["id"],
        "mood": _mood(rollout["advantage"]),
        "tokens": sum(turn["tokens"] for turn in rollout["turns"]),
    }


def _mood(advantage: float | None) -> str:
    if not advantage:
        return "even"
    way = "above" if advantage > 0 else "below"
    return f"{way} much" if abs(advantage) >= _STRONG else way
