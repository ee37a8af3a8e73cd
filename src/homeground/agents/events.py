"""What happens while a question is answered, as `homeground ask`, `chat`, the server and its page show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict

from homeground.index import Hit

type Event = Step | Sources | Cited | Text | Done
type Tool = Literal["search", "pick", "read"]


class Citation(TypedDict):
    """Lines of one file, 1-based and inclusive."""

    path: str
    start: int
    end: int


@dataclass(frozen=True)
class Step:
    """One step of the search agent.

    Attributes:
        tool: search: the agent's own query; pick: the hit it chose; read: the lines around that hit.
        asked: the query, or the place as `path:start-end`.
        hits: what came back, best first.
    """

    name: ClassVar = "step"
    tool: Tool
    asked: str
    hits: Sequence[Hit] = ()

    def to_json(self) -> dict[str, Any]:
        hits = [{key: value for key, value in hit.to_json().items() if key != "text"} for hit in self.hits]
        return {"event": self.name, "tool": self.tool, "asked": self.asked, "hits": hits}


@dataclass(frozen=True)
class Sources:
    """What was found for the question.

    Attributes:
        hits: best first.
        packed: how many of them the model is shown, from the first on.
    """

    name: ClassVar = "sources"
    hits: Sequence[Hit]
    packed: int

    def to_json(self) -> dict[str, Any]:
        return {"event": self.name, "hits": [hit.to_json() for hit in self.hits], "packed": self.packed}


@dataclass(frozen=True)
class Cited:
    """A place is cited for the first time; the text that follows calls it `[number]`."""

    name: ClassVar = "cited"
    number: int
    hit: Hit

    def to_json(self) -> dict[str, Any]:
        return {"event": self.name, "number": self.number, **citation_of(self.hit)}


@dataclass(frozen=True)
class Text:
    """More of the answer."""

    name: ClassVar = "text"
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"event": self.name, "text": self.text}


@dataclass(frozen=True)
class Done:
    """The last event.

    Attributes:
        answer: all of its text; `[n]` in it is `citations[n - 1]`.
        citations: places that are in the index.
        found: whether the index has something on the question; the model was asked only then.
        dropped: citations that the model made up, and why each was taken out.
        by_words: how many citations the model did not write: the sentence before them shares its words with that place.
        uncited: sentences without a citation.
        similarity: of the question and what is nearest to it.
        needed: similarity below which nothing is answered.
        finish_reason: in OpenAI's words.
        prompt_tokens, completion_tokens: of the model that wrote.
    """

    name: ClassVar = "done"
    answer: str
    citations: Sequence[Citation]
    found: bool
    similarity: float
    needed: float
    dropped: Sequence[str] = ()
    by_words: int = 0
    uncited: int = 0
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "event": self.name,
            **self.document(),
            "dropped": list(self.dropped),
            "by_words": self.by_words,
            "uncited": self.uncited,
            "similarity": round(self.similarity, 4),
            "needed": round(self.needed, 4),
            "finish_reason": self.finish_reason,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": self.prompt_tokens + self.completion_tokens,
            },
        }

    def document(self) -> dict[str, Any]:
        """What `homeground ask --json` prints."""
        return {"answer": self.answer, "citations": list(self.citations), "found": self.found}


def citation_of(hit: Hit) -> Citation:
    """The place of a hit."""
    return {"path": hit.path, "start": hit.start, "end": hit.end}
