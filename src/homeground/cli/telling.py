"""An answer as people see it in a terminal: text as it is written, then the places it cites."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from homeground.base.terminal import printable, printable_lines
from homeground.cli.lines import NAME, NUMBER, PATH, QUIET, Paths, Styled, print_lines

if TYPE_CHECKING:
    from homeground.agents.events import Cited, Done, Event, Step
    from homeground.cli.verb import Common
    from homeground.index import Hit, Index

_HITS_OF_A_STEP = 3


class Teller:
    """Shows what happens: the answer on stdout, steps and remarks on stderr.

    Args:
        common: options of the verb.
        index: knows where files lie.
    """

    def __init__(self, common: Common, index: Index) -> None:
        self._common = common
        self._index = index
        self._paths = Paths()

    async def tell(self, events: AsyncGenerator[Event]) -> Done:
        """Shows everything; returns the last event."""
        from homeground.agents.events import Cited, Sources, Step, Text

        cited: list[Cited] = []
        shown: Sequence[Hit] = ()
        done: Done | None = None
        async with aclosing(events) as happening:
            async for event in happening:
                if isinstance(event, Step):
                    self._step(event)
                elif isinstance(event, Sources):
                    shown = event.hits[: event.packed]
                elif isinstance(event, Cited):
                    cited.append(event)
                elif isinstance(event, Text):
                    sys.stdout.write(printable_lines(event.text))
                    sys.stdout.flush()
                else:
                    done = event
        assert done is not None, "an answer ends with done"
        print()
        print_lines([*_number(event.number), *self.place(event.hit)] for event in cited)
        if not cited and shown:
            print_lines([[("shown to the model, and not cited:", QUIET)]])
            print_lines([("  ", ""), *self.place(hit)] for hit in shown)
        self._remarks(done)
        return done

    def place(self, hit: Hit) -> list[Styled]:
        """`path:start-end  symbol`, the path as it can be opened from here."""
        from homeground.base.errors import HomegroundError

        try:
            path = self._paths.shown(self._index.resolve(hit.path))
        except HomegroundError:  # it has left the index since
            path = hit.path
        return [(path, PATH), (":", QUIET), (f"{hit.start}-{hit.end}", NUMBER), (f"  {hit.symbol}".rstrip(), NAME)]

    def _step(self, step: Step) -> None:
        hits = ", ".join(printable(hit.citation) for hit in step.hits[:_HITS_OF_A_STEP])
        more = f" and {len(step.hits) - _HITS_OF_A_STEP} more" if len(step.hits) > _HITS_OF_A_STEP else ""
        came = f"  ->  {hits}{more}" if step.tool != "read" else ""
        self._remark(f"{step.tool}: {printable(step.asked)}{came}")

    def _remark(self, words: str) -> None:
        from rich.text import Text

        self._common.tell(Text(words))

    def _remarks(self, done: Done) -> None:
        for words in done.dropped:
            self._remark(f"dropped {printable(words)}")
        if done.by_words:
            self._remark(f"cited because sentence and passage share their words, not by the model: {done.by_words}")
        if done.uncited:
            self._remark(f"sentences that cite nothing, so check them: {done.uncited}")


def _number(number: int) -> list[Styled]:
    return [("  [", QUIET), (str(number), NUMBER), ("] ", QUIET)]
