"""One measurement, one process, one time limit: nothing that ran before can help or hinder what runs next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.sides.results import stamped
from homeground.base.hardware import usable_cores

ROOT = Path(__file__).resolve().parents[2]


def end_with_parent() -> None:
    """Make SIGTERM end the running child too: a child is killed when its parent leaves by an exception."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


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
        return stamped(json.loads(out.read_text()))


def _environment() -> dict[str, str]:
    threads = str(usable_cores())
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MPLBACKEND": "Agg"}
    return {**os.environ, "OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": "30000", **quiet}
