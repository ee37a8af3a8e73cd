"""`homeground serve` under 32 clients: no error, memory that stays, and how long answers take.

Run as ``make bench-serve``, or ``python -m benchmarks.serve --minutes 10``. The server is the command itself, over the
bundled model, an adapter of it, and an index of this package's `rollouts`. Questions have 5 to 600 words, answers 8 to
192 tokens; two clients read slowly, two hang up after the first piece.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import homeground
from benchmarks.sides import results
from benchmarks.sides.clients import CLIENTS, Load, Told, press

BENCH = "serve"
MODEL = "smollm2-135m-instruct"
GROWTH = 0.05
"""Of the memory in the second fifth of the time, what the last fifth may have more."""
ROOM = Path(homeground.__file__).parent / "rollouts"


def main() -> None:
    """Serve, press, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="how long requests begin")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="that ask at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (event, process):
        load = Load(
            event["url"].removesuffix("/v1"), event["key"], [name for name in event["models"] if "+" not in name],
            [name for name in event["models"] if "+" in name], words(), seconds=60 * options.minutes,
            clients=options.clients,
        )  # fmt: skip
        told = asyncio.run(press(load, lambda: process.memory_info().rss / 1e6))
    measured = results.stamped({"minutes": options.minutes, "clients": options.clients, **summary(told)})
    results.write(BENCH, rows_of(measured), {"load": measured})
    results.print_table(rows_of(measured))
    for words_, count in told.errors.items():
        print(f"{count} times: {words_}", file=sys.stderr)


@contextmanager
def served(folder: Path) -> Iterator[tuple[dict[str, Any], psutil.Process]]:
    """The command's announcement and its process."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HOMEGROUND_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "homeground"]
    subprocess.run([*command, "index", str(ROOM), "--quiet"], env=environment, check=True, stdout=subprocess.DEVNULL)
    make = f"from homeground import Policy; Policy.load({MODEL!r}).save_adapter(__import__('pathlib').Path('tuned'))"
    subprocess.run([sys.executable, "-c", make], env=environment, cwd=folder, check=True)
    arguments = ["serve", "--port", "0", "--json", "--quiet", "--adapter", f"tuned={folder / 'tuned'}"]
    with subprocess.Popen([*command, *arguments], env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline()), psutil.Process(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def words() -> list[str]:
    """Of the indexed sources, so that searches find something."""
    return [word for file in sorted(ROOM.glob("*.py")) for word in file.read_text(encoding="utf-8").split()]


def summary(told: Told) -> dict[str, Any]:
    """What is kept of it."""
    kept = asdict(told)
    fifth = max(1, len(told.memory_mb) // 5)
    return {
        "requests": sum(map(len, told.seconds.values())), "errors": dict(told.errors), "left": told.left,
        "seconds": {kind: quantiles(times) for kind, times in told.seconds.items()},
        "first_s": quantiles(told.first_s), "tokens": told.tokens, "took_s": kept["took_s"],
        "memory_mb": {
            "begin": told.memory_mb[0], "settled": max(told.memory_mb[fifth : 2 * fifth] or told.memory_mb),
            "end": max(told.memory_mb[-fifth:]), "peak": max(told.memory_mb),
            "each_minute": [max(told.memory_mb[at : at + 60]) for at in range(0, len(told.memory_mb), 60)],
        },
    }  # fmt: skip


def quantiles(times: Sequence[float]) -> dict[str, float]:
    """How many, and how long the middle one and the slowest in twenty took."""
    return {"n": len(times), **{f"p{q}": float(np.percentile(times, q)) for q in (50, 95) if times}}


def rows_of(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims; times and rates are told without one."""
    setting = f"{measured['clients']} clients, {measured['minutes']:g} minutes"
    errors, memory = sum(measured["errors"].values()), measured["memory_mb"]
    growth = memory["end"] / memory["settled"] - 1
    rows = [
        results.row(setting, "errors", "count", errors, 0, "none", 1 / (1 + errors), 1.0),
        results.row(setting, "memory growth", "share", growth, GROWTH, "limit", GROWTH / max(growth, 1e-3), 1.0),
    ]
    rate = measured["tokens"] / measured["took_s"]
    told = [
        ("requests", "count", measured["requests"]), ("tokens", "1/s", rate), ("memory", "MB", memory["peak"]),
        *((f"first piece {q}", "s", measured["first_s"][q]) for q in ("p50", "p95")),
        *((f"{kind} {q}", "s", times[q]) for kind, times in measured["seconds"].items() for q in ("p50", "p95")),
    ]  # fmt: skip
    return rows + [results.row(setting, metric, unit, ours, ours, "-", 1.0, None) for metric, unit, ours in told]


if __name__ == "__main__":
    main()
