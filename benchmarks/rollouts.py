"""Rollouts through the gateway: what a model call costs beside sampling, and whether any rollout is lost under fire.

Run as ``make bench-rollouts``. Three parts, each in a process of its own:

- overhead: a call's time at the client less the time that the sampler had the request, one caller and eight;
- crowd: 64 inline rollouts and 8 programs at once, each of which must come back once, with its own calls;
- faults: 1,000 rollouts while agents, the gateway and the model server are killed at random moments.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from homeground.rollouts import Failure

BENCH = "rollouts"
PARTS = ("overhead-1", "overhead-8", "crowd", "faults")
LIMIT_MS = 15.0
INLINE, PROGRAMS, ROLLOUTS, FAULTS = 64, 8, 1000, 20


def main() -> None:
    """Measure, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--limit", type=float, default=1200, help="seconds after which one part is stopped")
    options = parser.parse_args()
    children = [Child(part, "benchmarks.sides.rollouts", ("--part", part)) for part in options.parts]
    run_bench(BENCH, children, rows_of, limit_s=options.limit)


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims; what must be none is counted from one, so that the ratio of a fault-free run is 1."""
    rows: list[dict[str, Any]] = []
    for part, callers in (("overhead-1", "1 caller"), ("overhead-8", "8 callers")):
        if found := measurements.get(part):
            rows += [
                results.smaller(callers, f"overhead {cut}", "ms", found[f"{cut}_ms"], LIMIT_MS, "limit", 1.0)
                for cut in ("p50", "p95")
            ]
    if found := measurements.get("crowd"):
        for runner, wanted in (("inline", INLINE), ("process", PROGRAMS)):
            told = found[runner]
            rows.append(results.larger(runner, "at once", "rollouts", told["at_once"], wanted, "wanted", 1.0))
            rows.append(none_of(runner, "lost, doubled or mixed up", bad(told) + failed(told)))
    if found := measurements.get("faults"):
        hit = sum(found["faults"].values())
        killed = found["faults"].get("agent", 0)
        rows.append(results.larger("faults", "rollouts", "rollouts", found["rollouts"], ROLLOUTS, "wanted", 1.0))
        rows.append(results.larger("faults", "kills", "faults", hit, FAULTS, "wanted", 1.0))
        rows.append(none_of("faults", "lost, doubled or mixed up", bad(found)))
        rows.append(none_of("faults", "failed without a kill of their agent", failed(found) - killed))
        left = sum(map(len, found["left_behind"].values()))
        rows.append(none_of("faults", "processes, ports and files left", left))
    return rows


def none_of(setting: str, metric: str, count: int) -> dict[str, Any]:
    """A claim that there is none."""
    return results.row(setting, metric, "count", count, 0, "none", 1 / (1 + max(0, count)), 1.0)


def bad(told: dict[str, Any]) -> int:
    """Rollouts that did not come back once, with their own calls."""
    return int(told["lost"] + told["doubled"] + told["mixed_up"])


def failed(told: dict[str, Any]) -> int:
    """Rollouts that failed."""
    return sum(told["endings"].get(failure, 0) for failure in Failure)


if __name__ == "__main__":
    main()
