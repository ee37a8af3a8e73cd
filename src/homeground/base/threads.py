"""OpenMP's worker threads, which torch computes with: each thread that has computed keeps workers of its own.

As soon as all of them together outnumber the cores, libgomp makes every waiting worker sleep at once instead of
spinning for a moment, and the next product has to wake it: a training step then took 30% longer (two cores, one other
thread that had computed once). So a thread that stops computing for a while lets its workers go.
"""

from __future__ import annotations

import ctypes
import os

_SOFT = 1  # omp_pause_soft: the workers end, settings stay (OpenMP 5.0, section 3.2.44)


def release_workers() -> None:
    """End the calling thread's OpenMP workers; its next computation starts new ones (about 0.1 ms).

    Does nothing where torch does not run on libgomp.
    """
    try:
        # Only the library that is loaded already: a second one would have workers of its own.
        gomp = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except (OSError, AttributeError):
        return
    gomp.omp_pause_resource_all(_SOFT)
