"""The search agent at work for a question: its two trained turns, then a look at what it picked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from homeground.agents.events import Step
from homeground.agents.protocol import (
    HITS_SHOWN,
    Message,
    assistant,
    hits_turn,
    opening,
    parse_answer,
    parse_search,
)
from homeground.base.errors import HomegroundError
from homeground.index import Hit, Tools

if TYPE_CHECKING:
    from homeground.rollouts.stream import Writer

QUERY_TOKENS = 24
PICK_TOKENS = 8


@dataclass
class Seeking:
    """One search of the agent's.

    Attributes:
        model: was trained on look-ups.
        look: a query to its hits, best first.
        tools: of the index.
        lines: that are read of what it picks.
        hits: what it found, its pick first, then by turns what plain search found; once the steps are through.
    """

    model: Writer
    look: Callable[[str], Awaitable[list[Hit]]]
    tools: Tools
    lines: int
    hits: list[Hit] = field(default_factory=list[Hit])

    async def steps(self, question: str, found: Sequence[Hit]) -> AsyncGenerator[Step]:
        """Search, pick, read.

        Args:
            question: in words.
            found: what a plain search with it gave; a poor query of the agent's cannot hide that.
        """
        messages = opening(question)
        messages.append(assistant(await self._turn(messages, QUERY_TOKENS)))
        call = parse_search(messages[-1]["content"])
        # What is no call would find something as well, but nothing that was asked for.
        own = await self.look(call.query) if call.well_formed else []
        yield Step("search", call.query, own)
        self.hits = merged([own, found])
        if not self.hits:
            return
        shown = self.hits[:HITS_SHOWN]
        messages.append(hits_turn(shown))
        turn = await self._turn(messages, PICK_TOKENS)
        number = parse_answer(turn, len(shown))
        yield Step("pick", turn.strip(), [shown[number - 1]] if number is not None else [])
        # Without a pick, plain search decides.
        picked = shown[number - 1] if number is not None else (found or shown)[0]
        read = await asyncio.to_thread(self._read, picked)
        yield Step("read", read.citation, [read])
        self.hits = [read, *(hit for hit in self.hits if hit != picked)]

    async def _turn(self, messages: Sequence[Message], max_tokens: int) -> str:
        return await self.model.write([dict(message) for message in messages], max_tokens).whole()

    def _read(self, hit: Hit) -> Hit:
        """Extend a short hit by the lines after it, unless it is a part of a long line."""
        try:
            read = self.tools.read(hit.path, hit.start, max(hit.end, hit.start + self.lines - 1))
        except HomegroundError:  # the file has left the index since
            return hit
        if hit.text.partition("\n")[0] != read.text.partition("\n")[0]:
            return hit
        return replace(hit, end=read.end, text=read.text)


def merged(searches: Iterable[Sequence[Hit]]) -> list[Hit]:
    """Hits of several searches taken in turns, without repeats; those of the first search come first.

    Final scores are scaled within a query, so they order the hits of one search but cannot be compared across two.
    """
    taken: dict[tuple[str, int, int, str], Hit] = {}
    for row in zip_longest(*searches):
        for hit in row:
            if hit is not None:
                taken.setdefault((hit.path, hit.start, hit.end, hit.symbol), hit)
    return list(taken.values())
