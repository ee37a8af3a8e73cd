"""What the C library and oneDNN keep of memory that was used once; standard library alone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Generator


def give_back_memory() -> None:
    """Collect garbage and hand freed memory back to the system: for the borders between stages."""
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Hand freed memory back to the system; glibc keeps it otherwise, gigabytes after a few forwards of mixed sizes.

    What comes next pays a page fault for each page it takes again. Does nothing where the C library has no
    ``malloc_trim``.
    """
    if (trim := _libc("malloc_trim")) is not None:
        trim(0)


@contextlib.contextmanager
def trimming(every_s: float, work: Callable[[], object]) -> Generator[None]:
    """Within, freed memory goes back to the system now and then, in a thread: for what runs for days.

    Args:
        every_s: seconds between two times.
        work: tells what has been done; nothing is given back while it tells the same.
    """
    end = threading.Event()

    def watch() -> None:
        seen = work()
        while not end.wait(every_s):
            if (done := work()) != seen:
                seen = done
                trim_heap()

    thread = threading.Thread(target=watch, name="homeground-trim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


KEPT = 32 << 20
"""glibc maps no block apart that is larger than this."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_mapped_from: list[int] = [KEPT]


@contextlib.contextmanager
def blocks_returned(at_least: int) -> Generator[None]:
    """Within, a block of at least so many bytes goes back to the system as soon as it is freed; smaller ones are kept.

    A training step frees and takes hundreds of blocks of a few megabytes. Kept, they save a page fault for each page;
    but they break into pieces that fit nothing. Does nothing without glibc.

    Args:
        at_least: bytes, ``KEPT`` at most.
    """
    if (mallopt := _libc("mallopt")) is None:
        yield
        return
    _mapped_from.append(at_least)
    mallopt(_TRIM_THRESHOLD, 16 * KEPT)
    mallopt(_MMAP_THRESHOLD, at_least)
    try:
        yield
    finally:
        _mapped_from.pop()
        mallopt(_MMAP_THRESHOLD, _mapped_from[-1])


def _libc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def limit_primitives() -> None:
    """Let fewer compiled products be kept than by default: every new size of a forest makes some more.

    oneDNN keeps 256 instead of 1024. PyTorch keeps 64 instead of 1024 of each kind and thread, 0.3 MB each in 16 bits,
    and finds in oneDNN's those that come back after longer.

    Has an effect only before the first product of the process; what the user has set stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")
