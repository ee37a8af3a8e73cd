"""QLoRA's claim on what a laptop can run: an adapter over NF4 weights reaches the held-out loss of one over 16 bits.

Run as ``make bench-qlora`` (Dettmers et al. 2023, arXiv 2305.14314, section 4). SmolLM2-135M learns to write docstrings
of standard library functions; the loss is measured on functions of other modules, with three seeds for each base.

Raw measurements are kept in ``benchmarks/results/qlora.json``; a run replaces those that it measures again.
"""

from __future__ import annotations

import argparse
import itertools
from statistics import mean, stdev
from typing import Any

from scipy import stats

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from benchmarks.sides.qlora import RUNS

BENCH = "qlora"
SEEDS = (0, 1, 2)
SIXTEEN, BASES, PACKED = "none", ("none", "nf4", "fp4"), ("nf4", "fp4", "int8")
CONFIDENCE = 0.95
BITS = 4.13


def main() -> None:
    """Measure what was asked for, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", default="none,nf4", help=f"trained on; comma-separated, of: {', '.join(BASES)}")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which one process is stopped")
    parser.add_argument("--run", choices=RUNS, default="long", help="short takes 10 minutes, on a fifth of the rows")
    options = parser.parse_args()
    wanted = options.bases.split(",")
    if unknown := sorted(set(wanted) - set(BASES)):
        parser.error(f"unknown bases: {', '.join(unknown)}; there are: {', '.join(BASES)}")
    side = "benchmarks.sides.qlora"
    children = [Child(f"weights: {base}", side, ("--base", base, "--weights")) for base in PACKED]
    children += [
        Child(_key(options.run, base, seed), side, ("--base", base, "--run", options.run, "--seed", seed))
        for seed in SEEDS
        for base in wanted
    ]
    run_bench(BENCH, children, rows_of, limit_s=options.limit, report=print_losses)


def _key(run: str, base: str, seed: int) -> str:
    return f"{run}: {base}, seed {seed}"


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims that the measurements allow."""
    rows: list[dict[str, Any]] = []
    for name in RUNS:
        losses = {base: _losses(measurements, name, base) for base in BASES}
        if all(losses[SIXTEEN]):
            rows += [
                _compared(f"{name}: {base} against 16 bits", losses[base], losses[SIXTEEN], base == "nf4")
                for base in BASES[1:]
                if all(losses[base])
            ]
    nf4, fp4 = (measurements.get(f"weights: {base}") for base in ("nf4", "fp4"))
    if nf4 and fp4:
        pair = nf4["error_mean"], fp4["error_mean"]
        rows.append(results.smaller("weights", "relative error of NF4 against FP4", "", *pair, "FP4", 1.0))
        rows.append(results.smaller("weights", "NF4 with double quantization", "bits", nf4["bits"], BITS, "limit", 1.0))
    return rows


def _losses(measurements: dict[str, Any], name: str, base: str) -> list[float]:
    found = [measurements.get(_key(name, base, seed)) for seed in SEEDS]
    return [m["after"] for m in found if m] if all(found) else [0.0]


def _compared(setting: str, mine: list[float], sixteen: list[float], claimed: bool) -> dict[str, Any]:
    """The difference of the means against the seed band: where the mean of three more 16-bit runs would lie.

    Student's t with n - 1 degrees of freedom times the 16-bit runs' standard deviation times the root of 2/n.
    """
    n = len(SEEDS)
    band = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(sixteen) * (2 / n) ** 0.5
    # Only a loss above the band would speak against the claim.
    worse = max(mean(mine) - mean(sixteen), 1e-9)
    metric, target = "held-out loss above, against the seed band", 1.0 if claimed else None
    return results.smaller(setting, metric, "nats", worse, band, "limit", target)


def print_losses(measurements: dict[str, Any]) -> None:
    """Mean and standard deviation over seeds for each base."""
    for name, base in itertools.product(RUNS, BASES):
        if all(losses := _losses(measurements, name, base)):
            before = measurements[_key(name, base, SEEDS[0])]["before"]
            print(f"{name:<6} {base:<6} before {before:.4f}  after {mean(losses):.4f} (sd {stdev(losses):.4f})")
    for base in PACKED:
        if found := measurements.get(f"weights: {base}"):
            words = f"{found['error_mean']:.4f} (worst {found['error_worst']:.4f})"
            print(f"{base:<6} relative error of weights {words}, {found['bits']:.3f} bits a parameter")


if __name__ == "__main__":
    main()
