"""`homeground index --watch`: one line an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.base.errors import HomegroundError
from homeground.base.terminal import json_line, printable

if TYPE_CHECKING:
    from homeground.cli.verb import Common
    from homeground.index import IndexReport


def keep_fresh(common: Common, build: Callable[[], IndexReport], roots: Sequence[Path], workspace: Path) -> None:
    """Indexes and prints a line after each change, until Ctrl-C."""
    from homeground.index.watch import watch

    for event in watch(build, roots, workspace):
        if common.json:
            print(json_line(event.to_json()), flush=True)
        else:
            print(printable(f"{time.strftime('%H:%M:%S')}  {_words(event)}"), flush=True)


def _words(event: IndexReport | HomegroundError) -> str:
    if isinstance(event, HomegroundError):
        return f"error: {event.message}"
    changed = f"{event.changed} files new or changed, {event.gone} gone"
    return f"{changed}; {event.embedded} of {event.chunks} chunks embedded, {event.seconds:.1f} s"
