"""Seconds of an update against the size of the group: ``python -m benchmarks.sides.growth --out FILE``."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.sides.ours import bench_policy, measure
from benchmarks.sides.workload import MODEL, Setting, setting_named
from homeground.base.hardware import usable_cores
from homeground.policy import Policy

GROUPS = (2, 4, 8, 16, 24)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", default="P512-R64")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    policy = bench_policy(options.model)
    options.out.write_text(json.dumps(grown(policy, setting_named(options.setting), GROUPS, options.steps)))


def grown(
    policy: Policy, setting: Setting, groups: tuple[int, ...], steps: int, text: list[int] | None = None
) -> dict[str, Any]:
    """Median seconds, distinct tokens and tokens of plain rows, one entry a group size."""
    runs = [measure(policy, replace(setting, group=group), steps, written=True, text=text) for group in groups]
    return {
        "groups": list(groups),
        "update": [median(run["update"]) for run in runs],
        "distinct_tokens": [run["distinct_tokens"] for run in runs],
        "path_tokens": [run["path_tokens"] for run in runs],
    }


def plot(grown: dict[str, Any], file: Path) -> None:
    """Measured seconds, the line that distinct tokens predict, and the line of plain rows."""
    from matplotlib.figure import Figure

    groups, seconds = grown["groups"], grown["update"]
    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    lines = {"distinct tokens": "distinct_tokens", "plain rows": "path_tokens"}
    for (label, key), colour in zip(lines.items(), ("#1f8f5f", "#c98a1b"), strict=True):
        tokens = grown[key]
        predicted = [seconds[0] * n / grown["distinct_tokens"][0] for n in tokens]
        axes.plot(groups, predicted, "--", color=colour, linewidth=1.2, label=f"cost of {label}")
    axes.plot(groups, seconds, "o-", color="#3b76c4", label="measured update")
    axes.set_ylim(0, 2.2 * max(seconds))
    axes.set_xticks(groups)
    axes.set(xlabel="rollouts of one prompt (G)", ylabel="seconds of an update")
    axes.set_title("P = 512, R = 64: an update costs its distinct tokens", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)


if __name__ == "__main__":
    main()
