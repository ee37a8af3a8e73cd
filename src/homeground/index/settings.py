"""What an index was built with, and what a build reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from homeground.corpus import FoundSecret

type Backend = Literal["auto", "bf16", "fp32", "onnx", "openvino"]


@dataclass(frozen=True)
class ChromaSettings:
    """Plain values of the recipe's `index.chroma` section.

    Attributes:
        mode: embedded in the index's folder, or a collection on a server.
        host: of the server.
        port: of the server.
        ssl: whether the server is spoken to through TLS.
        exact_below: an embedded index of fewer chunks is searched exactly, without opening Chroma.
    """

    mode: Literal["embedded", "server"] = "embedded"
    host: str = "127.0.0.1"
    port: int = 8000
    ssl: bool = False
    exact_below: int = 200_000


@dataclass(frozen=True)
class IndexSettings:
    """Plain values of the recipe's `index` section; stored in the index and used again when it is opened.

    Attributes:
        embedder: bundled name, local folder or hub id of a sentence-transformers model.
        max_tokens: tokens of a chunk, breadcrumb and special tokens included.
        dense_weight: weight of the normalised cosine in the fused score; the default is fitted by `make bench-search`.
        lexical_weight: weight of the normalised BM25 score in the fused score.
        exact_names: whether a query that is a name puts the definitions of that name first.
        rerank: cross-encoder or late-interaction model that reorders the best hits; None leaves them.
        rerank_weight: weight of its score beside the fused one, both scaled to [0, 1]; 1 forgets the fused one.
        top_k: hits that a search returns unless it says otherwise.
        backend: what the embedder computes with; "auto" takes what was measured to be done first.
        chroma: where Chroma runs.
    """

    embedder: str = "all-minilm-l6-v2"
    max_tokens: int = 192
    dense_weight: float = 0.75
    lexical_weight: float = 0.25
    exact_names: bool = True
    rerank: str | None = None
    rerank_weight: float = 0.5
    top_k: int = 10
    backend: Backend = "auto"
    chroma: ChromaSettings = ChromaSettings()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The settings from a recipe's section or from the manifest; what this version does not know is left out."""
        known = {one.name for one in fields(cls)}
        own = {key: value for key, value in values.items() if key in known}
        if "chroma" in own:
            own["chroma"] = ChromaSettings(**own["chroma"])
        return cls(**own)


@dataclass(frozen=True)
class IndexReport:
    """What one indexing run did.

    `embedded` counts the texts that went through the embedder, `reused` the chunks whose vector was already there:
    from an earlier run, or from a chunk of the same content. `secrets` lists those of the files that were read anew.
    `changed` counts files that are new or not as they were, `gone` those that are no more.
    """

    roots: list[str]
    files: int
    chunks: int
    embedded: int
    reused: int
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    secrets: list[FoundSecret] = field(default_factory=list[FoundSecret])
    seconds: float = 0.0
    changed: int = 0
    gone: int = 0

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
            "changed": self.changed,
            "gone": self.gone,
        }
