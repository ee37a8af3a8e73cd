"""The experts' traces that a recipe mixes into groups (`rl.luffy.traces`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import UsageError
from homeground.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from homeground.tasks import LookupTask
    from homeground.training import Experts, ExpertTrace

SCRIPTED = "scripted"
"""In place of a file: the script that searches with the whole question."""


def expert_traces(bench: Workbench, tasks: Sequence[Any]) -> Experts | None:
    """The traces of a file, or what the script does on each look-up task, with the rewards that this earns.

    Args:
        bench: of the run.
        tasks: that are trained on.

    Raises:
        UsageError: the file is none of traces of these tasks, or the script is asked for another agent's.
    """
    from homeground.agents import scripted_lookup
    from homeground.evaluate import outcome_of
    from homeground.tasks import LookupTask
    from homeground.training import ExpertTrace, load_traces

    traces = bench.recipe.rl.luffy.traces
    if traces is None:
        return None
    if traces != SCRIPTED:
        return load_traces(Path(traces).expanduser(), tasks)
    if not all(isinstance(task, LookupTask) for task in tasks):
        raise UsageError(
            f"'{SCRIPTED}' are conversations of the look-up agent that ships, and another one is trained",
            where="rl.luffy.traces",
            hint='name a file of JSON lines: {"task": ID, "messages": [...], "reward": 1.0}',
        )

    def scripted(task: LookupTask) -> list[ExpertTrace]:
        outcome = scripted_lookup(task, bench.search)
        return [ExpertTrace([{**message} for message in outcome.messages], outcome_of(outcome).reward)]

    return scripted
