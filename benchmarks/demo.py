"""The demo with seeds 0, 1 and 2: does SFT beat the untrained model, and GRPO the SFT adapter, every time?

Run as ``make bench-demo``. The seeds are fixed here, before any run; every seed is reported. All of them share one
index; each has its own tasks, split, adapter and samples. Writes ``benchmarks/results/demo.json``.

A gain is met when the 95% interval of the paired difference lies above zero: ``ratio`` is the difference divided by its
distance to the interval's lower end, so that it is at least 1 exactly then.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.sides import results
from homeground.base.files import atomic_write_json
from homeground.evaluate import Metrics, pair_rows, read_metrics, stage_rows, verdict

SEEDS = (0, 1, 2)
MINUTES = 15
MEMORY_MB = 8000
GAINS = {"sft-base": ("reward",), "rl-sft": ("reward", "reciprocal_rank", "success")}


def main() -> None:
    """Run the demo once a seed, print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".homeground-bench"), help="workspace of the runs")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--reuse", action="store_true", help="report runs that are there instead of running them again")
    options = parser.parse_args()
    runs: dict[int, Metrics] = {}
    for seed in SEEDS:
        name = f"demo-{seed}"
        measured = options.home / "runs" / name / "metrics.json"
        if not (options.reuse and measured.is_file()):
            shutil.rmtree(measured.parent, ignore_errors=True)
            command = [sys.executable, "-m", "homeground", "demo", "--home", options.home, "--recipe", options.recipe]
            subprocess.run([*map(str, command), "--run", name, "--seed", str(seed)], check=True)
        runs[seed] = read_metrics(measured)
    rows = [row for seed, metrics in runs.items() for row in rows_of(seed, metrics)]
    first = next(iter(runs.values()))
    document = {
        "bench": "demo",
        "commit": first["commit"],
        "machine": first["machine"],
        "rows": rows,
        "stages": {f"seed {seed}": metrics["stages"] for seed, metrics in runs.items()},
        "seconds": {f"seed {seed}": metrics["seconds"] for seed, metrics in runs.items()},
        "peak_memory_mb": {f"seed {seed}": metrics["peak_memory_mb"] for seed, metrics in runs.items()},
    }
    atomic_write_json(results.RESULTS / "demo.json", document)
    for seed, metrics in runs.items():
        print(f"\nseed {seed}")
        for table in (stage_rows(metrics), pair_rows(metrics)):
            results.print_aligned(table)
        print(*verdict(metrics), sep="\n")
    print()
    results.print_aligned([["setting", "metric", "ours", "low", "high", "ratio", "met"], *map(cells, rows)])


def rows_of(seed: int, metrics: Metrics) -> list[dict[str, Any]]:
    """What is claimed of one seed, claim by claim."""
    rows: list[dict[str, Any]] = []
    paired: dict[str, Any] = dict(metrics["paired"])
    for pair, names in GAINS.items():
        for name in names:
            gain = paired[pair][name]
            reach = gain["value"] - gain["low"]
            ratio = gain["value"] / reach if reach > 0 else (1.0 if gain["low"] > 0 else 0.0)
            rows.append(
                results.row(
                    f"seed {seed}", f"{name}: {pair}", "paired difference", gain["value"], 0.0, "no gain", ratio, 1.0
                )
                | {"low": gain["low"], "high": gain["high"], "n": gain["n"]}
            )
    minutes = sum(metrics["seconds"].values()) / 60
    peak = max(metrics["peak_memory_mb"].values())
    rows.append(results.smaller(f"seed {seed}", "all stages", "min", minutes, MINUTES, "limit", 1.0))
    rows.append(results.smaller(f"seed {seed}", "peak memory, process tree", "MB", peak, MEMORY_MB, "limit", 1.0))
    return rows


def cells(one: dict[str, Any]) -> list[str]:
    """A row as text."""
    return [str(one.get(key, "")) for key in ("setting", "metric", "ours", "low", "high", "ratio", "met")]


if __name__ == "__main__":
    main()
