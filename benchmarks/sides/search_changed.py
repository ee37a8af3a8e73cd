"""One changed file of 1,000, for ``make bench-search``: how long until the index knows it."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from homeground.base.hardware import usable_cores
from homeground.index import Index

FILES, REPEATS = 1000, 3


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        for number in range(FILES):
            (tree / f"part_{number}.py").write_text(_source(number, "first"))
        Index.build(Path(name) / "index", [tree])[0].close()
        seconds: list[float] = []
        for repeat in range(REPEATS):
            (tree / "part_500.py").write_text(_source(500, f"change {repeat}"))
            began = time.perf_counter()
            index, report = Index.build(Path(name) / "index", [tree])
            seconds.append(time.perf_counter() - began)
            assert 1 <= report.embedded <= 3, report
            index.close()
    options.out.write_text(json.dumps({"files": FILES, "seconds": sorted(seconds)[REPEATS // 2], "all": seconds}))


def _source(number: int, word: str) -> str:
    return (
        f'"""Part {number}."""\n\n\ndef make_{number}(value):\n    # {word}\n    return value * {number}\n\n\n'
        f"class Part{number}:\n    def weigh(self, scale):\n        return scale.read(self) + {number}\n"
    )


if __name__ == "__main__":
    main()
