"""A conversation about the index: what was said, what it was based on, and what a person can do in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from homeground.agents.answering import Answerer
from homeground.agents.events import Done, Event, Sources
from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import atomic_write_text
from homeground.index import Excerpt, Hit
from homeground.index.tools import split_place

if TYPE_CHECKING:
    from homeground.policy.chat import Message


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: as it was asked.
        done: how it was answered.
        sources: what the model was shown, in the order of its numbers; what was nearest where nothing was found.
    """

    question: str
    done: Done
    sources: list[Hit]


@dataclass
class Dialogue:
    """One conversation.

    Attributes:
        answerer: answers.
        agentic: let its search agent look first.
        turns: so far.
    """

    answerer: Answerer
    agentic: bool = False
    turns: list[Turn] = field(default_factory=list[Turn])

    async def ask(self, question: str) -> AsyncGenerator[Event]:
        """Answers in the light of the turns before; one that is not read to its end is forgotten.

        Raises:
            HomegroundError: see `Answerer.stream`.
        """
        sources: list[Hit] = []
        async with aclosing(self.answerer.stream(self._messages(question), agentic=self.agentic)) as events:
            async for event in events:
                if isinstance(event, Sources):
                    sources = list(event.hits[: event.packed or None])
                if isinstance(event, Done):
                    self.turns.append(Turn(question, event, sources))
                yield event

    def _messages(self, question: str) -> list[Message]:
        said: list[Message] = []
        for turn in self.turns:
            said.append({"role": "user", "content": turn.question})
            said.append({"role": "assistant", "content": turn.done.answer})
        return [*said, {"role": "user", "content": question}]

    def search(self, words: str) -> list[Hit]:
        """What a search finds; the conversation goes on as if nothing had been asked.

        Raises:
            UsageError: there are no words.
        """
        if not words:
            raise UsageError("the query is blank", where="/search", hint="say in words what the code does, or a name")
        return self.answerer.search(words, 10)

    def read(self, place: str) -> Excerpt:
        """Lines of an indexed file, as the tool `read` gives them.

        Args:
            place: PATH, PATH:START-END, or the number of a source of the last answer.

        Raises:
            UsageError: there is no such place.
        """
        if not place:
            raise UsageError("nothing says what to read", where="/read", hint="give PATH, PATH:START-END or a number")
        if place.strip("[]").isdecimal():
            sources = self.sources()
            number = int(place.strip("[]")[:9])
            if not 1 <= number <= len(sources):
                raise UsageError(
                    f"there is no source {number}", where="/read", hint=f"/sources lists 1 to {len(sources)}"
                )
            hit = sources[number - 1]
            return self.answerer.tools.read(hit.path, hit.start, hit.end, None)
        return self.answerer.tools.read(*split_place(place))

    def sources(self) -> list[Hit]:
        """What the last answer was made from: what it cites first, in the order of its numbers, then the others.

        Raises:
            UsageError: nothing was asked yet.
        """
        if not self.turns:
            raise UsageError("nothing was asked yet", where="/sources", hint="ask something first")
        last = self.turns[-1]
        numbers = {(one["path"], one["start"], one["end"]): at for at, one in enumerate(last.done.citations)}
        return sorted(last.sources, key=lambda hit: numbers.get((hit.path, hit.start, hit.end), len(numbers)))

    def forget(self) -> None:
        """Begin anew."""
        self.turns.clear()

    def save(self, file: str) -> Path:
        """Writes the conversation as Markdown.

        Args:
            file: where to; a name with the time in the current folder when it is empty.

        Raises:
            HomegroundError: nothing was said, the file is there already, or it cannot be written.
        """
        if not self.turns:
            raise UsageError("there is nothing to save yet", where="/save", hint="ask something first")
        path = Path(file or f"chat-{datetime.now():%Y%m%d-%H%M%S}.md").expanduser()
        if path.exists():
            raise UsageError("there is such a file already", where=str(path), hint="name another one: /save FILE")
        try:
            atomic_write_text(path, self.markdown())
        except OSError as error:
            raise HomegroundError(
                f"the conversation cannot be saved: {error.strerror}", where=str(path), hint="name another file"
            ) from error
        return path

    def markdown(self) -> str:
        """The conversation, with the places that are cited below each answer."""
        parts: list[str] = []
        for turn in self.turns:
            quoted = "\n".join(f"> {line}".rstrip() for line in turn.question.splitlines())
            places = [f"{n}. `{c['path']}:{c['start']}-{c['end']}`" for n, c in enumerate(turn.done.citations, 1)]
            parts += [quoted, turn.done.answer, *(["\n".join(places)] if places else [])]
        return "\n\n".join(parts) + "\n"
