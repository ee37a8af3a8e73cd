"""Supervised fine-tuning beside TRL: useful tokens a second, peak memory and loss on the same rows.

Run as ``make bench-sft``. Each measurement is a process of its own; the first two optimizer steps of each are
dropped. The peer runs with its defaults and with every setting of its own that might be faster; the table compares
with its defaults and with the fastest. What the rows are and how the loss curves are compared: docs/benchmarks.md.

The raw measurements are kept in ``benchmarks/results/sft.json``, each with the commit it was made at; a run replaces
those that it measures again. So the bench can be run in parts::

    python -m benchmarks.sft --only ours
    python -m benchmarks.sft --settings packing
"""

from __future__ import annotations

import argparse
import importlib.util
from statistics import mean, stdev
from typing import Any

from scipy import stats

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench

BENCH = "sft"
STEPS = 6
CURVE_STEPS = 12
SEEDS = (0, 1, 2)
DEFAULTS, BEST_BY_HAND = "batch 8", "batch 1"
PEERS: dict[str, tuple[object, ...]] = {
    DEFAULTS: ("--batch", 8),
    BEST_BY_HAND: ("--batch", 1),
    "batch 2": ("--batch", 2),
    "batch 4": ("--batch", 4),
    "batch 16": ("--batch", 16),
    "batch 1, no checkpointing": ("--batch", 1, "--no-checkpointing"),
    "batch 2, no checkpointing": ("--batch", 2, "--no-checkpointing"),
    "batch 8, no checkpointing": ("--batch", 8, "--no-checkpointing"),
    "packing, batch 1": ("--batch", 1, "--packing"),
    "packing, batch 1, no checkpointing": ("--batch", 1, "--packing", "--no-checkpointing"),
    "padding-free, batch 8": ("--batch", 8, "--padding-free"),
    "padding-free, batch 2, no checkpointing": ("--batch", 2, "--padding-free", "--no-checkpointing"),
}
"""Settings of the peer by name; all others are its defaults, a loss computed in chunks among them."""
OURS: dict[str, tuple[object, ...]] = {
    "forests of 2048": ("--forest-tokens", 2048),
    "forests of 512": ("--forest-tokens", 512),
    "forests of 2048, checkpointing": ("--forest-tokens", 2048, "--checkpointing"),
}
FASTEST = "forests of 2048"
SPEED_DEFAULTS, SPEED_BEST, MEMORY, LOSS, BAND = 5.0, 2.5, 1 / 0.7, 1e-3, 0.95
CONFIDENCE = 0.95


def main() -> None:
    """Measure what was asked for, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("ours", "peer"), help="measure one side")
    parser.add_argument("--settings", default="", help="measure only those whose name contains this")
    parser.add_argument("--curves", action=argparse.BooleanOptionalAction, default=True, help="measure loss curves")
    parser.add_argument("--limit", type=float, default=420, help="seconds after which one process is stopped")
    options = parser.parse_args()
    if options.only != "ours" and importlib.util.find_spec("trl") is None:
        parser.error("the peer is not installed: run 'make bench-sft', or install '.[bench]', or say --only ours")
    children = [child for child in plan(options.only, curves=options.curves) if options.settings in child.key]
    run_bench(BENCH, children, rows_of, limit_s=options.limit, report=print_settings)


def plan(only: str | None, *, curves: bool) -> list[Child]:
    """Each process of the bench."""
    sides = [("ours", "benchmarks.sides.sft", OURS), ("peer", "benchmarks.peers.trl_sft", PEERS)]
    chosen = [side for side in sides if only in (None, side[0])]
    found = [
        Child(f"{side}: {name}", module, (*arguments, "--steps", STEPS))
        for side, module, settings in chosen
        for name, arguments in settings.items()
    ]
    if curves:
        fastest = {"ours": OURS[FASTEST], "peer": PEERS[BEST_BY_HAND]}
        found += [
            Child(_curve(side, seed), module, (*fastest[side], "--steps", CURVE_STEPS, "--seed", seed))
            for side, module, _ in chosen
            for seed in SEEDS
        ]
    return found


def _curve(side: str, seed: int) -> str:
    return f"{side}: curve of seed {seed}"


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims that the measurements allow."""
    ours = {name: found for name in OURS if (found := measurements.get(f"ours: {name}"))}
    peers = {name: found for name in PEERS if (found := measurements.get(f"peer: {name}"))}
    rows: list[dict[str, Any]] = []
    if FASTEST in ours and DEFAULTS in peers:
        best = max(peers, key=lambda name: peers[name]["tokens_per_s"])
        for name, target in ((DEFAULTS, SPEED_DEFAULTS), (best, SPEED_BEST)):
            words = "its defaults" if name == DEFAULTS else f"its fastest setting ({name})"
            pair = ours[FASTEST]["tokens_per_s"], peers[name]["tokens_per_s"]
            rows.append(results.larger(f"against {words}", "training", "tokens/s", *pair, peers[name]["peer"], target))
    for mine, theirs in (("forests of 2048", DEFAULTS), ("forests of 512", BEST_BY_HAND)):
        if mine in ours and theirs in peers:
            pair = ours[mine]["peak_mb"], peers[theirs]["peak_mb"]
            rows.append(
                results.smaller(f"{mine} against {theirs}", "peak memory", "MB", *pair, peers[theirs]["peer"], MEMORY)
            )
    if all(_curve(side, seed) in measurements for side in ("ours", "peer") for seed in SEEDS):
        rows += _curves(measurements)
    return rows


def _curves(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """Is the first loss the peer's, and is our curve one that the peer could have drawn with another seed?

    The band of a step is the interval in which one more run of the peer would lie: its seeds' mean plus and minus
    Student's t times their standard deviation times the root of 1 + 1/n.
    """
    ours = [measurements[_curve("ours", seed)]["loss"] for seed in SEEDS]
    peers = [measurements[_curve("peer", seed)]["loss"] for seed in SEEDS]
    version = measurements[_curve("peer", SEEDS[0])]["peer"]
    first = max(abs(mean(curve[0] for curve in ours) - mean(curve[0] for curve in peers)), 1e-9)
    wide = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(SEEDS) - 1)) * (1 + 1 / len(SEEDS)) ** 0.5
    inside = [
        abs(mine - mean(theirs)) <= max(LOSS, wide * stdev(theirs))
        for curve in ours
        for mine, theirs in zip(curve, zip(*peers, strict=True), strict=True)
    ]
    share = sum(inside) / len(inside)
    return [
        results.smaller("loss", "first step, difference", "nats", first, LOSS, "limit", 1.0),
        results.larger("loss", "steps inside the peer's band", "", share, BAND, "floor", 1.0)
        | {"peer_version": version},
    ]


def print_settings(measurements: dict[str, Any]) -> None:
    """Every setting of both sides, fastest first."""
    found = [(key, m) for key, m in measurements.items() if "curve" not in key]
    for key, measured in sorted(found, key=lambda item: -item[1]["tokens_per_s"]):
        print(f"{key:<40}{measured['tokens_per_s']:8.0f} tokens/s{measured['peak_mb']:10.0f} MB")


if __name__ == "__main__":
    main()
