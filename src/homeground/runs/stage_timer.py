"""Time and peak memory of a stage of a run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from homeground.base.heap import give_back_memory
from homeground.base.memory import PeakMemory
from homeground.runs.workspace import RunFolder


@contextmanager
def timed(run: RunFolder, stage: str) -> Generator[None]:
    """Record a stage as finished with its seconds and its peak memory in MB, unless it raises."""
    give_back_memory()
    began = perf_counter()
    with PeakMemory() as memory:
        yield
    run.finish(stage, seconds=round(perf_counter() - began, 2), peak_memory_mb=round(memory.peak_mb))
