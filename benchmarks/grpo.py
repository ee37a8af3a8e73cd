"""GRPO beside TRL: one optimizer step of the same work, whole step, update and peak memory.

Run as ``make bench-grpo``. Each side of each setting is a process of its own; the first step of each is dropped and
the median of the rest is compared. What is compared, how it is measured and what the peer is given: docs/benchmarks.md.

The raw measurements are kept in ``benchmarks/results/grpo.json``, each with the commit it was made at; a run replaces
those that it measures again and the table is made from all of them. So the bench can be run in parts::

    python -m benchmarks.grpo --settings P512-R64 --no-peer
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from benchmarks.sides.growth import plot
from benchmarks.sides.workload import SETTINGS, Setting

BENCH = "grpo"
GROWTH, SAMPLER = "update against G", "sampler"
SAMPLED = {"8 rows": (1, 2.0), "32 rows": (4, 3.0)}
"""Name, prompts (8 rollouts each), and how many times faster than generate."""
UPDATE_SHARE = 0.15
GROWTH_LIMIT = 1.15
DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Measure what was asked for, merge, write, print."""
    names = [*(s.name for s in SETTINGS), GROWTH, SAMPLER]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", help=f"comma-separated, of: {', '.join(names)} (all)")
    parser.add_argument("--steps", type=int, help="measured steps of both sides (ours 3, the peer 1 or 2)")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="measure the peer")
    parser.add_argument("--ours", action=argparse.BooleanOptionalAction, default=True, help="measure our side")
    parser.add_argument("--limit", type=float, default=420, help="seconds after which one process is stopped")
    options = parser.parse_args()
    wanted = [name.strip() for name in options.settings.split(",")] if options.settings else names
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"unknown settings: {', '.join(unknown)}; there are: {', '.join(names)}")
    if options.peer and importlib.util.find_spec("trl") is None:
        parser.error("the peer is not installed: run 'make bench-grpo', or install '.[bench]', or say --no-peer")
    children = plan(wanted, ours=options.ours, peer=options.peer, steps=options.steps)
    run_bench(BENCH, children, rows_of, limit_s=options.limit, report=plot_growth)


def plot_growth(measurements: dict[str, Any]) -> None:
    """Draw the update's seconds against the group size, where they were measured."""
    if GROWTH in measurements:
        plot(measurements[GROWTH], DOCS / "bench-grpo-g.png")


def plan(wanted: Sequence[str], *, ours: bool, peer: bool, steps: int | None) -> list[Child]:
    """Each process of the bench."""
    processes: dict[str, tuple[str, tuple[object, ...]]] = {}
    for setting in (s for s in SETTINGS if s.name in wanted):
        if ours:
            ours_steps = ("--setting", setting.name, "--steps", steps or 3)
            processes.setdefault(f"{setting.ours}: ours", ("benchmarks.sides.ours", ours_steps))
        if peer:
            trl = ("--setting", setting.name, "--steps", steps or setting.peer_steps)
            processes[f"{setting.name}: peer"] = ("benchmarks.peers.trl_grpo", trl)
    if GROWTH in wanted and ours:
        processes[GROWTH] = ("benchmarks.sides.growth", ("--steps", steps or 3))
    if SAMPLER in wanted:
        for name, (prompts, _) in SAMPLED.items():
            sampled = ("--prompts", prompts, "--rounds", steps or 3)
            if ours:
                processes[f"{SAMPLER}, {name}: ours"] = ("benchmarks.sides.sampling", sampled)
            if peer:
                processes[f"{SAMPLER}, {name}: peer"] = ("benchmarks.peers.generate", sampled)
    return [Child(key, module, arguments) for key, (module, arguments) in processes.items()]


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims that the measurements allow."""
    rows: list[dict[str, Any]] = []
    for setting in SETTINGS:
        ours = measurements.get(f"{setting.ours}: ours")
        peer = measurements.get(f"{setting.name}: peer")
        if ours and peer:
            rows += [{**row, **_origin(ours, peer)} for row in _compared(setting, ours, peer)]
    rows += [{**row, **_origin(found)} for found, row in _shares(measurements)]
    if grown := measurements.get(GROWTH):
        rows.append({**_growth(grown), **_origin(grown)})
    for name, (_, target) in SAMPLED.items():
        ours = measurements.get(f"{SAMPLER}, {name}: ours")
        peer = measurements.get(f"{SAMPLER}, {name}: peer")
        if ours and peer:
            rates = median(ours["tokens_per_s"]), median(peer["tokens_per_s"])
            row = results.larger(f"{SAMPLER}, {name}", "sampling", "tokens/s", *rates, peer["peer"], target)
            rows.append({**row, **_origin(ours, peer)})
    return rows


def _compared(setting: Setting, ours: dict[str, Any], peer: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for metric, key, target in (("whole step", "step", setting.step), ("update", "update", setting.update)):
        if setting.rolls_out or key == "update":
            pair = median(ours[key]), median(peer[key])
            found.append(results.smaller(setting.name, metric, "s", *pair, peer["peer"], target))
    pair = ours["peak_mb"], peer["peak_mb"]
    found.append(results.smaller(setting.name, "peak memory", "MB", *pair, peer["peer"], setting.memory))
    return found


def _shares(measurements: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for setting in SETTINGS:
        if ours := measurements.get(f"{setting.ours}: ours"):
            share = ours["update_tflop"] / median(ours["update"]) / ours["matmul_tflops"]
            row = results.larger(
                setting.ours, "update's share of the bf16 matmul rate", "", share, UPDATE_SHARE, "floor", 1.0
            )
            found.setdefault(setting.ours, (ours, row))
    return list(found.values())


def _growth(grown: dict[str, Any]) -> dict[str, Any]:
    """How much faster the update grows than its distinct tokens, from the smallest group to the largest."""
    per_token = [s / n for s, n in zip(grown["update"], grown["distinct_tokens"], strict=True)]
    metric = f"seconds a distinct token, G={grown['groups'][-1]} over G={grown['groups'][0]}"
    return results.smaller(GROWTH, metric, "", per_token[-1] / per_token[0], GROWTH_LIMIT, "limit", 1.0)


def _origin(ours: dict[str, Any], peer: dict[str, Any] | None = None) -> dict[str, Any]:
    origin = {"commit": ours["commit"], "measured_at": ours["measured_at"]}
    if peer is not None:
        origin |= {"peer_commit": peer["commit"], "peer_measured_at": peer["measured_at"]}
    return origin


if __name__ == "__main__":
    main()
