"""The command `chat`: messages from a terminal or a pipe are answered, its own commands carried out."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.terminal import json_line, printable_lines
from homeground.cli.ask import AgentOption, Teller, chosen_roles, described, named, opened
from homeground.cli.printed_lines import NUMBER, QUIET, numbered, print_lines
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

    from homeground.agents.events import Event
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
GOES_ON = "\\"
"""At the end of a line: the message goes on in the next."""


@verb(example="homeground chat")
def chat(common: Common, agent: AgentOption = False) -> None:
    """Talk about the index: cited answers, with the conversation kept in mind. /help lists what else it does.

    Messages are read from standard input, one a line, where that is no terminal; with --json each event is a line.
    """
    chosen = chosen_roles(common, agent)
    if common.dry_run:
        common.show(named(chosen, agent), f"would talk with {described(chosen, agent)}")
        return

    from homeground.pipeline.dialogue import Dialogue

    by_hand = sys.stdin.isatty() and sys.stdout.isatty()
    with opened(common, chosen, agent) as (answerer, index):
        if by_hand:
            common.tell("ask about the index; /help lists commands, Ctrl-D ends")
        messages = typed(common.workspace().chat_history, COMMANDS) if by_hand else piped(sys.stdin)
        Chatting(common, Dialogue(answerer, agentic=agent), index, patient=by_hand).run(messages)


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


def piped(lines: Iterable[str]) -> Iterator[str]:
    """Messages of a file or a pipe, one a line, without blank ones."""
    held = ""
    for line in lines:
        text = line.removeprefix("\ufeff").rstrip("\r\n")
        if text.endswith(GOES_ON):
            held += text.removesuffix(GOES_ON) + "\n"
            continue
        if (held + text).strip():
            yield held + text
        held = ""
    if held.strip():
        yield held.rstrip("\n")


def typed(history: Path, commands: Iterable[str]) -> Iterator[str]:
    """Messages that are typed at a terminal, until Ctrl-D; Ctrl-C clears the line.

    Enter sends. Alt-Enter begins another line, and so does Enter behind a backslash. What is pasted may have any lines.

    Args:
        history: file of what was typed before; arrow up brings it back.
        commands: that Tab completes.
    """
    session = prompt_session(history, commands)
    while True:
        try:
            text = session.prompt("> ", prompt_continuation="  ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.strip():
            yield text


def prompt_session(
    history: Path, commands: Iterable[str], *, source: Input | None = None, screen: Output | None = None
) -> PromptSession[str]:
    """The prompt.

    Args:
        history, commands: see :func:`typed`.
        source, screen: instead of the terminal.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith(GOES_ON):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        history=FileHistory(str(history)),
        multiline=True,
        key_bindings=keys,
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        input=source,
        output=screen,
    )
