"""Peak memory of a whole process tree: this process and everything it started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psutil

INTERVAL_S = 0.2


class PeakMemory:
    """Samples the memory of this process and its descendants in a thread, every 0.2 s.

    Where the system tells, a page shared by several processes counts once in total (PSS); elsewhere it counts once for
    each (RSS). A peak shorter than the interval can be missed.

    Example:
        with PeakMemory() as memory:
            train()
        print(memory.peak_mb)
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._resident = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        # Counting shared pages once means walking every page: tens of milliseconds in which a core does nothing else.
        # Memory in use is never more than resident memory, so it is worth the walk only where that reaches a new peak.
        resident = _tree_sum(_rss)
        if resident < 1.01 * self._resident:
            return
        self._resident = max(self._resident, resident)
        self.peak_mb = max(self.peak_mb, tree_memory_mb())


def tree_memory_mb() -> float:
    """Memory of this process and its descendants now, in MB (10^6 bytes)."""
    return _tree_sum(_process_bytes)


def _tree_sum(measure: Callable[[psutil.Process], int]) -> float:
    root = psutil.Process()
    return sum(map(measure, [root, *root.children(recursive=True)])) / 1e6


def _process_bytes(process: psutil.Process) -> int:
    try:
        pss: int | None = getattr(process.memory_full_info(), "pss", None)
        return pss if pss is not None else process.memory_info().rss
    except psutil.AccessDenied:
        return _rss(process)
    except psutil.Error:
        return 0  # it ended meanwhile


def _rss(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
