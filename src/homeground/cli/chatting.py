"""The loop of `homeground chat`: messages are answered, commands carried out."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.terminal import json_line, printable_lines
from homeground.cli.lines import NUMBER, QUIET, numbered, print_lines
from homeground.cli.telling import Teller

if TYPE_CHECKING:
    from homeground.agents.events import Event
    from homeground.cli.verb import Common
    from homeground.index import Index
    from homeground.pipeline.dialogue import Dialogue

_COMMAND = re.compile(r"/(?P<name>[a-z]+)(?:\s+(?P<rest>.*))?", re.DOTALL)

COMMANDS = {
    "/search": "WORDS: what the index holds on them",
    "/read": "PATH[:START-END], or the number of a source: the lines",
    "/sources": "what the last answer was made from",
    "/save": "[FILE]: the conversation as Markdown",
    "/agent": "let the trained search agent look first, or no longer",
    "/new": "forget the conversation",
    "/help": "this list",
    "/quit": "end, as Ctrl-D does",
}


class Chatting:
    """One conversation at the terminal, or in a pipe.

    Args:
        common: options of the verb; with `--json` every event is one line.
        dialogue: what is said.
        index: knows where files lie.
        patient: an error is told and the conversation goes on; else it is raised.
    """

    def __init__(self, common: Common, dialogue: Dialogue, index: Index, *, patient: bool) -> None:
        self._common = common
        self._dialogue = dialogue
        self._teller = Teller(common, index)
        self._patient = patient

    def run(self, messages: Iterable[str]) -> None:
        """Until there are no more messages, or `/quit`."""
        for message in messages:
            if message.strip() == "/quit":
                return
            try:
                self._one(message.strip())
            except HomegroundError as error:
                if not self._patient:
                    raise
                print(printable_lines(f"error: {error}"), file=sys.stderr)
            except KeyboardInterrupt:
                if not self._patient:
                    raise
                print("\nstopped; this turn is forgotten", file=sys.stderr)

    def _one(self, message: str) -> None:
        found = _COMMAND.fullmatch(message)
        if found is None:
            events = self._dialogue.ask(message)
            asyncio.run(self._print_events(events) if self._common.json else self._told(events))
            return
        carry_out: dict[str, Callable[[str], None]] = {
            "search": self._search,
            "read": self._read,
            "sources": self._sources,
            "save": self._save,
            "agent": self._agent,
            "new": self._new,
            "help": self._help,
        }
        if found["name"] not in carry_out:
            raise UsageError(f"there is no command /{found['name']}", where="chat", hint="/help lists them")
        carry_out[found["name"]]((found["rest"] or "").strip())

    async def _told(self, events: AsyncGenerator[Event]) -> None:
        await self._teller.tell(events)

    async def _print_events(self, events: AsyncGenerator[Event]) -> None:
        async with aclosing(events) as happening:
            async for event in happening:
                _print_json(event.to_json())

    def _search(self, rest: str) -> None:
        hits = self._dialogue.search(rest)
        if self._common.json:
            _print_json({"event": "search", "query": rest, "hits": [hit.to_json() for hit in hits]})
            return
        print_lines(self._teller.place(hit) for hit in hits)

    def _read(self, rest: str) -> None:
        read = self._dialogue.read(rest)
        if self._common.json:
            _print_json({"event": "read", **read.to_json()})
            return
        print_lines(numbered(read))

    def _sources(self, rest: str) -> None:
        del rest
        hits = self._dialogue.sources()
        if self._common.json:
            _print_json({"event": "sources", "hits": [hit.to_json() for hit in hits], "packed": len(hits)})
            return
        cited = len(self._dialogue.turns[-1].done.citations)
        print_lines(
            [
                (f"  [{number}] ", NUMBER if number <= cited else QUIET),
                *self._teller.place(hit),
                ("" if number <= cited else "  (not cited)", QUIET),
            ]
            for number, hit in enumerate(hits, start=1)
        )

    def _save(self, rest: str) -> None:
        path = self._dialogue.save(rest)
        self._say({"event": "saved", "path": str(path)}, f"saved to {path}")

    def _agent(self, rest: str) -> None:
        del rest
        if not self._dialogue.answerer.agentic:
            raise UsageError("no search agent is loaded", where="/agent", hint="start with: homeground chat --agent")
        self._dialogue.agentic = not self._dialogue.agentic
        on = self._dialogue.agentic
        self._say({"event": "agent", "on": on}, f"the search agent looks first: {'on' if on else 'off'}")

    def _new(self, rest: str) -> None:
        del rest
        self._dialogue.forget()
        self._say({"event": "new"}, "a new conversation")

    def _help(self, rest: str) -> None:
        del rest
        width = max(map(len, COMMANDS))
        lines = [f"{name:<{width}}  {words}" for name, words in COMMANDS.items()]
        self._say({"event": "help", "commands": COMMANDS}, *lines, "a line that ends in \\ goes on in the next")

    def _say(self, document: dict[str, Any], *words: str) -> None:
        if self._common.json:
            _print_json(document)
            return
        print_lines([(line, "")] for line in words)


def _print_json(document: dict[str, Any]) -> None:
    print(json_line(document), flush=True)
