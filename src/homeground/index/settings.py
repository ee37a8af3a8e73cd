"""What an index was built with, and what a build reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from homeground.corpus import FoundSecret


@dataclass(frozen=True)
class IndexSettings:
    """Plain values of the recipe's `index` section; stored in the index and used again when it is opened.

    Attributes:
        embedder: bundled name, local folder or hub id of a sentence-transformers model.
        max_tokens: tokens of a chunk, breadcrumb and special tokens included.
        dense_weight: weight of the normalised cosine in the fused score.
        lexical_weight: weight of the normalised BM25 score in the fused score.
        exact_names: whether a query that is a name puts the definitions of that name first.
        rerank: cross-encoder or late-interaction model that reorders the best hits; None leaves them.
        rerank_weight: weight of its score beside the fused one, both scaled to [0, 1]; 1 forgets the fused one.
        top_k: hits that a search returns unless it says otherwise.
        backend: number type of the embedder; "auto" takes bf16 where the processor computes in it.
    """

    embedder: str = "all-minilm-l6-v2"
    max_tokens: int = 192
    dense_weight: float = 0.6
    lexical_weight: float = 0.4
    exact_names: bool = True
    rerank: str | None = None
    rerank_weight: float = 0.5
    top_k: int = 10
    backend: Literal["auto", "bf16", "fp32"] = "auto"


@dataclass(frozen=True)
class IndexReport:
    """What one indexing run did.

    `embedded` counts the texts that went through the embedder, `reused` the chunks whose vector was already there:
    from an earlier run, or from a chunk of the same content. `secrets` lists those of the files that were read anew.
    """

    roots: list[str]
    files: int
    chunks: int
    embedded: int
    reused: int
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    secrets: list[FoundSecret] = field(default_factory=list[FoundSecret])
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The document that `homeground index --json` prints."""
        return {
            "roots": self.roots,
            "files": self.files,
            "chunks": self.chunks,
            "embedded": self.embedded,
            "reused": self.reused,
            "skipped": self.skipped,
            "secrets": [secret.to_json() for secret in self.secrets],
            "seconds": round(self.seconds, 3),
        }
