"""Whether a replay source holds what fine-tuning makes a model forget, and what it costs the task.

Run as ``make bench-forgetting``. SmolLM2-135M learns to write docstrings of standard library functions, at a learning
rate that makes it forget: alone, and with conversations of its own mixed in (`homeground data replay`). Both take the
same number of optimizer steps over the same own rows, with three seeds each.

Raw measurements are kept in ``benchmarks/results/forgetting.json``; a run replaces those that it measures again.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from homeground.evaluate.general import GENERAL_METRICS, GeneralOutcome, compare_general, general_metrics
from homeground.evaluate.stats import Interval

BENCH = "forgetting"
SEEDS = (0, 1, 2)
ALONE, BEFORE, REPLAY = "alone", "before", "replay"
MIXES = {ALONE: 0, "third": 96, "half": 192}
"""Replay rows beside the 192 own ones; the names are their share of all rows."""
SAVED, KEPT_GAIN = 0.001, 0.8
"""Shares: of what plain text loses without replay, that it must save for sure (more than nothing); of the task's gain,
that must be left."""
TEXT, ANSWER, _ = GENERAL_METRICS


def main() -> None:
    """Measure what was asked for, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixes", default="alone,third", help=f"comma-separated, of: {', '.join(MIXES)}")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="comma-separated")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which one process is stopped")
    options = parser.parse_args()
    mixes, seeds = options.mixes.split(","), [int(seed) for seed in options.seeds.split(",")]
    if unknown := sorted(set(mixes) - set(MIXES)):
        parser.error(f"unknown mixes: {', '.join(unknown)}; there are: {', '.join(MIXES)}")
    with tempfile.TemporaryDirectory() as folder:
        children = plan(mixes, seeds, Path(folder) / "replay.jsonl")
        run_bench(BENCH, children, rows_of, limit_s=options.limit, report=print_outcomes)


def plan(mixes: list[str], seeds: list[int], file: Path) -> list[Child]:
    """Each process of the bench; replay rows are sampled once, for all mixes."""
    side = "benchmarks.sides.forgetting"
    children = [Child(BEFORE, side, ("--before",))]
    if most := max(MIXES[mix] for mix in mixes):
        children.append(Child(REPLAY, side, ("--sample", most, "--file", file)))
    children += [
        Child(_key(mix, seed), side, ("--mix", MIXES[mix], "--seed", seed, "--file", file))
        for seed in seeds
        for mix in mixes
    ]
    return children


def _key(mix: str, seed: int) -> str:
    return f"{mix}, seed {seed}"


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims that the measurements allow."""
    before, alone = measurements.get(BEFORE), _runs(measurements, ALONE)
    rows: list[dict[str, Any]] = []
    for mix in MIXES:
        runs = _runs(measurements, mix)
        if mix == ALONE or not before or not alone or not runs:
            continue
        setting = f"{mix} replay against {ALONE}"
        base, without, held = GeneralOutcome.from_json(before["general"]), _general(alone), _general(runs)
        lost, saved = compare_general(without, base), compare_general(without, held)
        rows.append(_saved(setting, "plain text", "bits/byte", lost[TEXT], saved[TEXT], SAVED))
        rows.append(_saved(setting, "right answers", "bits", lost[ANSWER], saved[ANSWER], None))
        gain, gain_alone = (before["heldout"] - mean(run["heldout"] for run in some) for some in (runs, alone))
        rows.append(results.larger(setting, "gain on the task", "nats", gain, gain_alone, ALONE, KEPT_GAIN))
    return rows


def _runs(measurements: dict[str, Any], mix: str) -> list[dict[str, Any]]:
    """One for each seed; none when a seed is missing."""
    found = [measurements.get(_key(mix, seed)) for seed in SEEDS]
    return [one for one in found if one] if all(found) else []


def _general(runs: list[dict[str, Any]]) -> GeneralOutcome:
    """Of each text and question the mean over seeds."""
    outcomes = [GeneralOutcome.from_json(run["general"]) for run in runs]
    lists = [[getattr(one, field.name) for one in outcomes] for field in fields(GeneralOutcome)]
    return GeneralOutcome(*([mean(each) for each in zip(*some, strict=True)] for some in lists))


def _saved(setting: str, what: str, unit: str, lost: Interval, saved: Interval, target: float | None) -> dict[str, Any]:
    """What replay saves, over the same texts: the low end of its interval, as a share of what is lost without it."""
    # Where nothing was lost there is nothing to save.
    share = saved["low"] / lost["value"] if lost["value"] > 0 else -1.0
    metric = f"{what}: saved by replay, low end of its 95% interval"
    return results.row(setting, metric, unit, saved["low"], lost["value"], f"lost {ALONE}", share, target)


def print_outcomes(measurements: dict[str, Any]) -> None:
    """What each mix learnt and forgot, mean over seeds, with the interval of the change over texts and questions."""
    before = measurements.get(BEFORE)
    if before is None:
        return
    base = GeneralOutcome.from_json(before["general"])
    first = "  ".join(f"{name} {one['value']:.3f}" for name, one in general_metrics(base).items())
    print(f"{BEFORE:<7} task {before['heldout']:.3f} nats  {first}")
    for mix in MIXES:
        if runs := _runs(measurements, mix):
            losses, after = [run["heldout"] for run in runs], _general(runs)
            change = compare_general(after, base)
            parts = [
                f"{name} {value['value']:.3f} [{change[name]['low']:+.3f}, {change[name]['high']:+.3f}]"
                for name, value in general_metrics(after).items()
            ]
            print(f"{mix:<7} task {mean(losses):.3f} (sd {stdev(losses):.3f})  {'  '.join(parts)}")
    if made := measurements.get(REPLAY):
        left_out = ", ".join(f"{count} {reason}" for reason, count in made["removed"].items()) or "nothing"
        words = f"{made['rows']} rows in {made['seconds']:.0f} s ({made['tokens_per_s']:.0f} tokens/s)"
        print(f"{REPLAY:<7} {words}; {made['unfinished']} answers were cut off; left out: {left_out}")


if __name__ == "__main__":
    main()
