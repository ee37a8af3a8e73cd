"""One result of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from homeground.base.record import HIDDEN, Record


class Stage(StrEnum):
    """The stages that can score a chunk."""

    DENSE = "dense"
    LEXICAL = "lexical"
    FUSED = "fused"
    RERANK = "rerank"
    SYMBOL = "symbol"


@dataclass(frozen=True)
class Hit(Record):
    """Lines of a file that answer a query.

    Attributes:
        path: posix path relative to `Index.base`: the root, or the folder above several.
        start: first line, 1-based.
        end: last line, inclusive.
        symbol: dotted name of the definition; "" at module level.
        kind: kind of the chunk.
        language: language of the file.
        score: score of the last stage that scored this hit.
        scores: raw score of every stage: dense (cosine), lexical (BM25), fused (0 to 1), rerank (logit), symbol (how
            well its name is the query: 1 the whole name, less for its end or in other letters).
        text: the lines.
        id: id of the chunk.
    """

    path: str
    start: int
    end: int
    symbol: str
    kind: str
    language: str
    score: float
    scores: dict[str, float]
    text: str
    id: Annotated[str, HIDDEN] = field(default="", compare=False)

    @property
    def citation(self) -> str:
        """`path:start-end`."""
        return f"{self.path}:{self.start}-{self.end}"
