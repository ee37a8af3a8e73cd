"""Runs of a bench: one measurement, one process, one time limit, so that no measurement influences the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from benchmarks.sides import results
from homeground.base.hardware import usable_cores

ROOT = Path(__file__).resolve().parents[2]


type Measurements = dict[str, Any]


class Child(NamedTuple):
    """A process of a bench.

    Attributes:
        key: of its measurement in the results file.
        module: that is run.
        arguments: of the module, without ``--out``.
        known: added to what it measures.
    """

    key: str
    module: str
    arguments: tuple[object, ...] = ()
    known: Mapping[str, Any] = {}


def run_bench(
    bench: str,
    children: Iterable[Child],
    rows_of: Callable[[Measurements], list[dict[str, Any]]],
    *,
    limit_s: float,
    report: Callable[[Measurements], None] = lambda measurements: None,
) -> NoReturn:
    """Run the processes of a bench in turn, merge what they measure into its results file, and print the claims.

    Exits with 1 where a process failed. The file is written after each process: an interrupted bench keeps what it has
    measured.

    Args:
        bench: name of the results file.
        children: started one after the other.
        rows_of: claims that the measurements allow.
        limit_s: seconds after which a process is stopped.
        report: called with all measurements before the claims are printed.
    """
    # A child is killed when its parent leaves by an exception: so SIGTERM ends both.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measurements = results.read_measurements(bench)
    complete = True
    for child in children:
        measured = run(child.module, *child.arguments, limit_s=limit_s)
        complete &= measured is not None
        if measured is not None:
            measurements[child.key] = {**measured, **child.known}
            results.write(bench, rows_of(measurements), measurements)
    report(measurements)
    results.print_table(rows_of(measurements))
    sys.exit(0 if complete else 1)


def run(module: str, *arguments: object, limit_s: float) -> dict[str, Any] | None:
    """Run ``python -m module ARGUMENTS --out FILE`` and read what it wrote; None when it failed or took too long.

    A child's last lines are printed when it fails. Both sides get the same environment: one OpenMP worker a core, and
    workers that sleep soon when a neighbour needs the core.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", module, *map(str, arguments), "--out", str(out)]
        print(f"  {' '.join(command[2:-2])} ...", end=" ", flush=True, file=sys.stderr)
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            print(f"stopped after {limit_s:.0f} s", file=sys.stderr)
            return None
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
        if done.returncode != 0:
            print("\n".join((done.stderr or done.stdout).splitlines()[-12:]), file=sys.stderr)
            return None
        return results.stamped(json.loads(out.read_text()))


def _environment() -> dict[str, str]:
    threads = str(usable_cores())
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MPLBACKEND": "Agg"}
    return {**os.environ, "OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": "30000", **quiet}
