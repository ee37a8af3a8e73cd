"""Results files: rows of claims from raw measurements, merged so that a long bench can be run in parts."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from homeground.base import hardware
from homeground.base.files import atomic_write_json, read_json

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = ("setting", "metric", "unit", "ours", "peer", "peer_name", "ratio", "target", "met")


def row(
    setting: str, metric: str, unit: str, ours: float, peer: float, peer_name: str, ratio: float, target: float | None
) -> dict[str, Any]:
    """One claim; ``ratio`` is larger-is-better, ``met`` None where nothing was promised."""
    return {
        "setting": setting, "metric": metric, "unit": unit, "ours": round(ours, 3), "peer": round(peer, 3),
        "peer_name": peer_name, "ratio": round(ratio, 3), "target": None if target is None else round(target, 3),
        "met": None if target is None else ratio >= target,
    }  # fmt: skip


def smaller(
    setting: str, metric: str, unit: str, ours: float, peer: float, peer_name: str, target: float | None
) -> dict[str, Any]:
    """A claim about time or memory: ratio = peer / ours."""
    return row(setting, metric, unit, ours, peer, peer_name, peer / ours, target)


def larger(
    setting: str, metric: str, unit: str, ours: float, peer: float, peer_name: str, target: float | None
) -> dict[str, Any]:
    """A claim about a rate, or about a floor: ratio = ours / peer."""
    return row(setting, metric, unit, ours, peer, peer_name, ours / peer, target)


def stamped(measured: dict[str, Any]) -> dict[str, Any]:
    """A raw measurement with where it comes from."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**measured, "commit": commit(), "measured_at": now, "cpu": hardware.cpu_name()}


def read_measurements(bench: str) -> dict[str, Any]:
    """The raw measurements that a results file holds; none where there is no file."""
    file = RESULTS / f"{bench}.json"
    return dict(read_json(file)["measurements"]) if file.is_file() else {}


def write(bench: str, rows: Sequence[dict[str, Any]], measurements: dict[str, Any]) -> Path:
    """Write ``benchmarks/results/BENCH.json``."""
    file = RESULTS / f"{bench}.json"
    document = {
        "bench": bench, "commit": commit(), "machine": machine(), "rows": list(rows), "measurements": measurements
    }  # fmt: skip
    atomic_write_json(file, document)
    return file


def commit() -> str | None:
    """The commit of this checkout, with a plus sign where tracked files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=RESULTS.parent, capture_output=True, text=True, timeout=10)
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/benchmarks/*.py")
    return f"{head}{'+' if changed else ''}" if head else None


def machine() -> dict[str, Any]:
    """What ran."""
    seen = asdict(hardware.probe())
    kept = ("cpu", "cores", "device", "cuda_name", "amx", "avx512_bf16", "platform", "python", "torch", "bitsandbytes")
    return {name: seen[name] for name in kept} | {"bf16_tflops": seen["rates"]["bf16"]}


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """The claims, aligned."""
    if not rows:
        print("nothing measured yet")
        return
    print_aligned([list(COLUMNS), *([_text(r[c]) for c in COLUMNS] for r in rows)])


def print_aligned(cells: Sequence[Sequence[str]]) -> None:
    """Lines of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return ("yes" if value else "NO") if isinstance(value, bool) else str(value)
