"""Runs side by side: what their recipes say differently, and what they reach on the same held-out tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.evaluate import Interval, compare_rollouts, load_outcomes
from homeground.pipeline.stages import evaluation_file
from homeground.runs.run_list import RunSummary, recipe_settings, summary
from homeground.runs.workspace import RunFolder

_STAGES = ("rl", "sft")
_PLACE = ("run",)
"""Settings that differ between any two runs and mean nothing."""


@dataclass(frozen=True)
class Comparison:
    """Runs, in the order they were named; differences are from the first.

    Attributes:
        runs: what each is.
        settings: dotted key -> each run's value, of the settings that differ.
        paired: `LATER-FIRST` -> metric -> difference over the same tasks, after each run's last stage.
        unpaired: of each run without such a difference, why.
    """

    runs: list[RunSummary]
    settings: dict[str, list[Any]]
    paired: dict[str, dict[str, Interval]]
    unpaired: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document of `homeground runs compare --json`."""
        return {
            "runs": [one.to_json() for one in self.runs],
            "settings": self.settings,
            "paired": self.paired,
            "unpaired": self.unpaired,
        }


def compare_runs(runs: list[RunFolder]) -> Comparison:
    """See `Comparison`."""
    settings = [recipe_settings(run) for run in runs]
    keys = [key for key in dict.fromkeys(key for one in settings for key in one) if key not in _PLACE]
    differing = {key: values for key in keys if not _same(values := [one.get(key) for one in settings])}
    paired: dict[str, dict[str, Interval]] = {}
    unpaired: dict[str, str] = {}
    for run in runs[1:]:
        try:
            paired[f"{run.name}-{runs[0].name}"] = compare_rollouts(_outcomes(run), _outcomes(runs[0]))
        except HomegroundError as why:
            unpaired[run.name] = why.message
    return Comparison([summary(run) for run in runs], differing, paired, unpaired)


def _same(values: list[Any]) -> bool:
    return all(value == values[0] for value in values)


def _outcomes(run: RunFolder) -> Any:
    for stage in _STAGES:
        if (file := evaluation_file(run, stage)).is_file():
            return load_outcomes(file)
    raise HomegroundError(f"'{run.name}' was not evaluated on look-up tasks", where=str(run.path))
