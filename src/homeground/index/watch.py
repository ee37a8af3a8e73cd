"""Keeps an index fresh: indexes again, a moment after files have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from homeground.base.errors import HomegroundError
from homeground.index.build import IndexReport

_DEBOUNCE_MS = 400  # an editor or a checkout writes many files: they become one event
_LOOK_EVERY_MS = 1000
_NEVER_SOURCE = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv"})


def watch(
    build: Callable[[], IndexReport], roots: Sequence[Path], workspace: Path
) -> Iterator[IndexReport | HomegroundError]:
    """Yields the first report, then one after each change that mattered; runs until it is interrupted.

    A run that fails (every file was deleted, the disk is full) is yielded as its error, and watching goes on.

    Args:
        build: indexes and reports.
        roots: what to watch.
        workspace: may lie below a root; what is written there is no change.
    """
    import watchfiles

    own = str(workspace.resolve())

    def matters(_change: watchfiles.Change, path: str) -> bool:
        return not path.startswith(own) and _NEVER_SOURCE.isdisjoint(Path(path).parts)

    yield build()  # what is wrong at the start is for the caller
    events = watchfiles.watch(
        *(root.resolve() for root in roots),
        watch_filter=matters,
        debounce=_DEBOUNCE_MS,
        rust_timeout=_LOOK_EVERY_MS,
        yield_on_timeout=True,
    )
    failed, first = "", True
    for changes in events:
        if not (changes or first):
            continue
        first = False  # files may have changed before the watching began
        try:
            report = build()
        except HomegroundError as error:
            if str(error) != failed:
                failed = str(error)
                yield error
            continue
        if report.changed or report.gone or failed:
            yield report
        failed = ""
