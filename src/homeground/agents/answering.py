"""Answer questions about an index in prose, with citations that are checked.

The index is searched with the question. If nothing in it is similar enough, the answer says so and no model is asked.
Else the best passages go into the model's window and it writes; :mod:`homeground.agents.prose` reads along. In agentic
mode a model that was trained to look things up searches too, picks a hit, and reads around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeground.agents.config import AnswerConfig
from homeground.agents.events import Done, Event, Sources, Text, citation_of
from homeground.agents.lookup import SearchTool
from homeground.agents.packing import Conversation, pack
from homeground.agents.prose import Prose
from homeground.agents.seeking import Seeking, merged
from homeground.base.errors import HomegroundError
from homeground.index import Hit, Stage, Tools

if TYPE_CHECKING:
    from homeground.policy.chat import Message
    from homeground.rollouts.sampling import SamplingParams
    from homeground.rollouts.stream import Writer, Writing

HITS = 10
_READ_MORE = 2
"""What the agent picked is read further than another passage, so many times."""


@dataclass(frozen=True)
class Answerer:
    """Answers conversations; several at a time.

    Attributes:
        search: (query, how many) to hits, best first; called in a thread.
        writer: the model that writes.
        tools: of the index; citations are checked against it.
        least: similarity that the best hit must have (:func:`homeground.pipeline.threshold.least_confidence`).
        seeker: a model that was trained on look-ups, for agentic mode.
        config: limits of passages and answers.
    """

    search: SearchTool
    writer: Writer
    tools: Tools
    least: float
    seeker: Writer | None = None
    config: AnswerConfig = AnswerConfig()

    @property
    def agentic(self) -> bool:
        """Whether there is a model for agentic mode."""
        return self.seeker is not None

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        params: SamplingParams | None = None,
        agentic: bool = False,
    ) -> AsyncGenerator[Event]:
        """What happens until the conversation's last message is answered; `Done` comes last.

        Args:
            messages: as the chat-completions API has them; the last is a user's.
            max_tokens: of the answer, instead of the answerer's own.
            params: how it is sampled; greedy when not given.
            agentic: let the seeker look first.

        Raises:
            HomegroundError: the question is empty or does not fit the model's window, or there is no seeker.
        """
        asked = Conversation.of(messages)
        searches = [await self._hits(query) for query in asked.queries]
        similarity = max((confidence(hit) for hits in searches for hit in hits), default=0.0)
        hits = merged(sorted(searches, key=lambda hits: -max(map(confidence, hits), default=0.0)))
        if agentic:
            seeking = self._seeking()
            async with aclosing(seeking.steps(asked.question, hits)) as steps:
                async for step in steps:
                    yield step
            hits = seeking.hits
        if similarity < self.least or not hits:
            text = _nothing_found(hits, similarity, self.least)
            yield Sources(hits, 0)
            yield Text(text)
            yield Done(text, [], found=False, similarity=similarity, needed=self.least)
            return
        lines = self.config.passage_lines
        limit = min(max_tokens or self.config.max_tokens, self.writer.context // 2)
        prompt, shown = pack(
            asked,
            hits,
            self.writer.count,
            self.writer.context - limit,
            passages=self.config.passages,
            lines=[_READ_MORE * lines if agentic else lines, lines],
        )
        yield Sources(hits, len(shown))
        # A model that was trained on such rows lists its sources behind the answer; ours come from the index.
        stop = [f"\n\n[{number}] `" for number in range(1, len(shown) + 1)]
        writing = self.writer.write(prompt, limit, params, stop)
        prose, told = Prose(shown, self._exists), list[str]()
        async with aclosing(_read(writing, prose)) as events:
            async for event in events:
                if isinstance(event, Text):
                    told.append(event.text)
                yield event
        yield Done(
            "".join(told),
            [citation_of(hit) for hit in prose.cited],
            found=True,
            similarity=similarity,
            needed=self.least,
            dropped=prose.dropped,
            by_words=prose.by_words,
            uncited=prose.uncited,
            finish_reason=writing.finish_reason,
            prompt_tokens=writing.prompt_tokens,
            completion_tokens=writing.sampled,
        )

    async def _hits(self, query: str) -> list[Hit]:
        return await asyncio.to_thread(self.search, query, HITS) if query else []

    def _seeking(self) -> Seeking:
        if self.seeker is None:
            raise HomegroundError(
                "no model here was trained to search",
                where="agentic mode",
                hint="train one with 'homeground sft' and 'homeground rl', or ask without it",
            )
        return Seeking(self.seeker, self._hits, self.tools, _READ_MORE * self.config.passage_lines)

    def _exists(self, hit: Hit) -> bool:
        """Whether the index has these very lines now; it may have changed since they were found."""
        try:
            read = self.tools.read(hit.path, hit.start, hit.end, None)
        except HomegroundError:
            return False
        # A hit may be a part of a long line.
        return read.end == hit.end and " ".join(hit.text.split()) in " ".join(read.text.split())


async def _read(writing: Writing, prose: Prose) -> AsyncGenerator[Event]:
    async with aclosing(writing.pieces()) as pieces:
        async for piece in pieces:
            for event in prose.add(piece):
                yield event
            if prose.ended:
                break
    for event in prose.finish():
        yield event
    if not prose.written:
        for event in prose.point("The model wrote nothing. The nearest in the index:"):
            yield event
    elif prose.ended and prose.announces and not prose.cited:
        for event in prose.point("\n\nThe model wrote no more than that. The nearest in the index:"):
            yield event


def confidence(hit: Hit) -> float:
    """How sure a hit is, comparable across queries: its cosine similarity, or its final score without that stage."""
    return hit.scores.get(Stage.DENSE, hit.score)


def _nothing_found(hits: Sequence[Hit], similarity: float, needed: float) -> str:
    if not hits:
        return "Not found in this index: no part of it matches the question."
    nearest = max(hits, key=confidence)
    return (
        f"Not found in this index: the nearest is {nearest.citation}, with similarity {similarity:.2f} where "
        f"{needed:.2f} is needed."
    )
