"""Progress on stderr: one bar a stage, with an ETA, and a one-line result when it is done.

On a terminal the bars are drawn with Rich, where it is installed. Elsewhere (a log file, CI) each becomes a few plain
lines, at most one every ten seconds.
"""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

from homeground.base.terminal import printable_lines

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_INTERVAL_S = 10.0
LEAST_SHARE = 0.02  # smallest share done for an estimate of the time left: until then loading the model dominates


class Progress:
    """Shows what runs, how far it is and how long it will still take.

    Example:
        with Progress() as progress:
            bar = progress.bar("embedding chunks", total=len(chunks))
            for batch in batches:
                bar.advance(len(batch))
            bar.done(f"{len(chunks)} chunks embedded")
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._rich: RichProgress | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty() and find_spec("rich") is not None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            from homeground.base.console import Console

            self._rich = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(sys.stderr),
                transient=False,
                # stdout carries results that people pipe elsewhere.
                redirect_stdout=False,
            )
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def bar(self, title: str, total: int | None = None) -> Bar:
        """Start a bar of `total` steps (None when that is not known yet)."""
        if self._quiet:
            return Bar(title, total)
        if self._rich is not None:
            return _RichBar(title, total, self._rich)
        return _PlainBar(title, total)

    def line(self, text: str) -> None:
        """One line above the bars, such as a warning that the reader should keep."""
        if self._rich is not None:
            self._rich.console.print(text)
        elif not self._quiet:
            print(printable_lines(text), file=sys.stderr, flush=True)


class Bar:
    """The progress of one stage. This base counts and shows nothing: it is the quiet one."""

    def __init__(self, title: str, total: int | None) -> None:
        self.title = title
        self.total = total
        self.completed = 0
        self.started = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more as done; `note` says what is going on, such as a loss."""
        self.completed += steps
        self._show(note)

    def expect(self, total: int) -> None:
        """Say how many steps there are, once that is known."""
        self.total = total
        self._show("")

    def done(self, result: str) -> None:
        """Finish the bar with a one-line result."""
        self._finish(result)

    def _show(self, note: str) -> None: ...

    def _finish(self, result: str) -> None: ...


class _RichBar(Bar):
    def __init__(self, title: str, total: int | None, rich: RichProgress) -> None:
        super().__init__(title, total)
        self._rich = rich
        self._task: TaskID = rich.add_task(title, total=total, note="")

    def _show(self, note: str) -> None:
        self._rich.update(self._task, completed=self.completed, total=self.total, note=note)

    def _finish(self, result: str) -> None:
        from rich.text import Text

        self._rich.remove_task(self._task)
        took = clock(time.monotonic() - self.started)
        text = Text.assemble(("✓", "green"), f" {self.title}: {result} ", (f"({took})", "dim"))
        self._rich.console.print(text)


class _PlainBar(Bar):
    def __init__(self, title: str, total: int | None) -> None:
        super().__init__(title, total)
        self._last = self.started
        self._say(f"{title} ..." if total is None else f"{title} ... ({total})")

    def _show(self, note: str) -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_S:
            return
        self._last = now
        elapsed = now - self.started
        text = f"{self.title} {self.completed}"
        if self.total:
            text += f"/{self.total}, {clock(elapsed)} gone"
            if self.completed / self.total >= LEAST_SHARE:
                text += f", about {clock(elapsed * (self.total - self.completed) / self.completed)} left"
        self._say(f"{text}  {note}".rstrip())

    def _finish(self, result: str) -> None:
        self._say(f"{self.title}: {result} ({clock(time.monotonic() - self.started)})")

    def _say(self, text: str) -> None:
        print(printable_lines(text), file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: 75 -> 1:15, 3675 -> 1:01:15."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
