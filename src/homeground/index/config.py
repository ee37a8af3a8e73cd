"""Settings of an index; stored in it, and used again when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from homeground.base.config import Config

Backend = Literal["auto", "bf16", "fp32", "onnx"]


class ChromaConfig(Config):
    """Where Chroma runs."""

    mode: Literal["embedded", "server"] = Field(
        default="embedded",
        description="embedded: Chroma keeps its data in the index's folder; server: a Chroma server has it",
    )
    host: str = Field(default="127.0.0.1", description="host name or address of the Chroma server")
    port: int = Field(default=8000, ge=1, le=65535, description="port of the Chroma server")
    ssl: bool = Field(default=False, description="connect to the Chroma server over TLS")
    exact_below: int = Field(
        default=200_000,
        ge=0,
        description="number of chunks below which an embedded index is searched exactly, without Chroma",
    )


class IndexConfig(Config):
    """Embedding, fusion and reranking of chunks. The weights of the fusion are fitted by `make bench-search`."""

    embedder: str = Field(
        default="all-minilm-l6-v2", description="embedding model: a bundled name, a local folder, or an id of the hub"
    )
    max_tokens: int = Field(default=192, ge=16, description="tokens of a chunk that are embedded; the rest is cut off")
    dense_weight: float = Field(default=0.75, ge=0, description="weight of the embedding's score in the fusion")
    lexical_weight: float = Field(default=0.25, ge=0, description="weight of the BM25 score in the fusion")
    exact_names: bool = Field(
        default=True, description="if the query is the name of a definition, list the definition first"
    )
    rerank: str | None = Field(
        default=None,
        description="cross-encoder or late-interaction model that reranks the best hits; null reranks nothing",
    )
    rerank_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="weight of the reranker's score; the fused score has the rest, so 1 ignores it",
    )
    top_k: int = Field(default=10, ge=1, description="number of hits that a search returns")
    backend: Backend = Field(
        default="auto",
        description="inference backend of the embedder: torch in bf16 or fp32, or ONNX Runtime; auto: bf16 on a GPU or "
        "a processor that multiplies in it, else ONNX Runtime, which also embeds queries",
    )
    chroma: ChromaConfig = ChromaConfig()

    @field_validator("backend", mode="before")
    @classmethod
    def _without_openvino(cls, value: object) -> object:
        if value == "openvino":
            raise ValueError("OpenVINO is no longer a backend: set it to onnx, which reads the same exported model")
        return value

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.dense_weight + self.lexical_weight <= 0:
            raise ValueError("dense_weight and lexical_weight cannot both be 0: nothing would be found")
        return self


def stored_config(values: Mapping[str, Any]) -> IndexConfig:
    """Settings that an index was built with, by any version; keys that this one does not know are ignored."""
    # Version 0.1 also had OpenVINO, for the model that ONNX Runtime reads.
    backend = "onnx" if values.get("backend") == "openvino" else values.get("backend", "auto")
    return IndexConfig.model_validate({**values, "backend": backend}, extra="ignore")
