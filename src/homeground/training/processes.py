"""The other processes of a run: started, joined over the loopback address, and heard when they fail."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

import psutil
import torch
from torch import distributed

from homeground.base.errors import HomegroundError

_END_SECONDS = 30.0
"""How long the others may take to end when the first has."""

type Word = HomegroundError | str | None
"""What another process says: that it is ready (None), or why it failed."""


@contextlib.contextmanager
def processes(count: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> Generator[None]:
    """Within, this process is the first of ``count``; each of the others runs ``work(*arguments)``.

    They speak gloo over the loopback address, and share the threads that this one has. Ctrl-C is the first process's
    business. When one of them dies the others' next sum fails, and the block raises what it said.

    Args:
        count: at least 2.
        work: a function of a module, that calls the collective functions as often as the block does.
        arguments: what can be pickled; our own, they never leave the machine.

    Raises:
        HomegroundError: another process failed.
    """
    before = torch.get_num_threads()
    threads = max(1, before // count)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="homeground-ranks-") as folder:
        said: SimpleQueue[Word] = context.SimpleQueue()
        others = [
            context.Process(target=_take_part, args=(rank, count, folder, threads, said, work, arguments), daemon=True)
            for rank in range(1, count)
        ]
        for other in others:
            other.start()
        torch.set_num_threads(threads)
        clean = False
        try:
            _await_ready(others, said)
            _meet(0, count, folder)
            yield
            clean = True
        except RuntimeError as error:
            # A sum with somebody who is gone; why is theirs to say.
            if failure := _failure(others, said):
                raise failure from error
            raise
        finally:
            for other in others:
                if clean:
                    other.join(_END_SECONDS)
                # It has nothing that is not the first process's too.
                other.kill()
                other.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()
            torch.set_num_threads(before)


def _take_part(
    rank: int,
    count: int,
    folder: str,
    threads: int,
    said: SimpleQueue[Word],
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    """The life of another process."""
    # A terminal sends Ctrl-C to all; the first process lets the step end, saves, and tells the others to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What there is to warn of, the first process warns of.
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    said.put(None)
    _meet(rank, count, folder)
    try:
        work(*arguments)
    except KeyboardInterrupt:
        pass
    except HomegroundError as error:
        said.put(error)
        raise SystemExit(1) from None
    except Exception as error:
        said.put(f"{type(error).__name__}: {error}")
        raise
    distributed.destroy_process_group()


def _meet(rank: int, count: int, folder: str) -> None:
    # Gloo listens where the host's name points to; nobody outside has business here.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)


def _loopback() -> str:
    """The name of the loopback interface, which differs between systems."""
    return next(
        name for name, found in psutil.net_if_addrs().items() if any(entry.address == "127.0.0.1" for entry in found)
    )


def _await_ready(others: Sequence[BaseProcess], said: SimpleQueue[Word]) -> None:
    """Wait until every process has imported what it needs."""
    ready = 0
    while ready < len(others):
        if not said.empty():
            said.get()
            ready += 1
        elif any(other.exitcode is not None for other in others):
            raise _failure(others, said) or HomegroundError("a process of the run ended before it began")
        else:
            time.sleep(0.05)


def _failure(others: Sequence[BaseProcess], said: SimpleQueue[Word]) -> HomegroundError | None:
    """Why another process has ended; None when all of them live."""
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline and said.empty() and all(other.exitcode is None for other in others):
        time.sleep(0.05)
    while not said.empty():
        word = said.get()
        if isinstance(word, HomegroundError):
            return word
        if word is not None:
            return HomegroundError(f"another process of the run failed: {word}", hint="set sft.devices to 1")
    for number, other in enumerate(others, start=1):
        if other.exitcode is not None:
            return HomegroundError(
                f"process {number} of the run ended with {other.exitcode}",
                hint="-9 is mostly the system being out of memory: set sft.devices to 1, or train a smaller model",
            )
    return None
