"""Search over HTTP: `/search`, and embeddings and reranking as their clients know them.

Long lists are computed a few texts at a time, so that answers being written go on in between.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from homeground.base.errors import UsageError
from homeground.base.reward import short
from homeground.base.threads import release_workers
from homeground.index import Filters
from homeground.index.protocols import encode_all
from homeground.index.tools import MOST_HITS, MOST_NAME
from homeground.rollouts.requests import ApiError, Fields, Request

if TYPE_CHECKING:
    from homeground.index import Index
    from homeground.pipeline.serving import Serving

MOST_TEXTS = 2048
AT_ONCE = 32
SEARCH_PARAMETERS = ("q", "k", "path", "language", "kind", "symbol")

type Several = Annotated[list[Annotated[str, Field(max_length=MOST_NAME)]], Query(max_length=100)]


class EmbeddingRequest(Request):
    """OpenAI's request for embeddings."""

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)

    def texts(self) -> list[str]:
        """What is embedded.

        Raises:
            ApiError: token ids, nothing, or too much.
        """
        given = [self.input] if isinstance(self.input, str) else self.input
        texts = [text for text in given if isinstance(text, str)]
        if len(texts) < len(given):
            raise ApiError(400, "input: send text; the embedder has other token ids than the model")
        return _checked(texts, "input")


class Document(Fields):
    """A text in an object of its own."""

    text: str


class RerankRequest(Request):
    """The request that Jina's, Cohere's and vLLM's clients send."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = True

    def texts(self) -> list[str]:
        """What is ranked.

        Raises:
            ApiError: nothing, or too much.
        """
        if not self.query.strip():
            raise ApiError(400, "query: it is blank")
        return _checked([d if isinstance(d, str) else d.text for d in self.documents], "documents")


def retrieval_routes(serving: Serving) -> APIRouter:
    """Routes over the served index; each answers 400 where there is none, 503 where it was made anew."""
    routes = APIRouter()

    @routes.get("/search")
    async def search(  # pyright: ignore[reportUnusedFunction] # the decorator uses it
        connection: HTTPConnection,
        q: Annotated[str, Query(min_length=1)],
        k: Annotated[int, Query(ge=1, le=MOST_HITS)] = 10,
        path: Several = [],  # noqa: B006 # the description shows it, nothing changes it
        language: Several = [],  # noqa: B006
        kind: Several = [],  # noqa: B006
        symbol: Several = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Hits for words, code or a name; filters as `homeground search` has them, each any number of times."""
        for name in connection.query_params:
            if name not in SEARCH_PARAMETERS:
                raise UsageError(
                    f"there is no parameter {short(name)}",
                    where="/search",
                    hint=f"it has {', '.join(SEARCH_PARAMETERS)}",
                )
        filters = Filters(tuple(path), tuple(language), tuple(kind), tuple(symbol))
        return (await run_in_threadpool(serving.search, q, k, filters)).to_json()

    @routes.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Unit vectors of texts; what is longer than the embedder reads is cut."""
        body.check_others()
        index = await run_in_threadpool(serving.wanted_index)
        name = embedder_name(index)
        _same(body.model, name)
        texts = body.texts()
        encode = partial(encode_all, index.embedder)
        vectors = np.concatenate(await run_in_threadpool(_by_turns, serving.compute, encode, texts))
        if body.dimensions not in (None, vectors.shape[1]):
            raise ApiError(400, f"dimensions: this model's vectors have {vectors.shape[1]}")
        data = [
            {"object": "embedding", "index": at, "embedding": _written(vector, body.encoding_format)}
            for at, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "model": name, "usage": _usage(index, texts)}

    @routes.post("/v1/rerank")
    async def rerank(body: RerankRequest) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Documents by relevance to a query: the index's reranker, or else the similarity of its embedder."""
        body.check_others()
        index = await run_in_threadpool(serving.wanted_index)
        name, score = _scorer(index, body.query)
        if body.model is not None:
            _same(body.model, name)
        texts = body.texts()
        scores = [x for some in await run_in_threadpool(_by_turns, serving.compute, score, texts) for x in some]
        best = sorted(range(len(texts)), key=lambda at: -scores[at])[: body.top_n]
        results: list[dict[str, Any]] = [{"index": at, "relevance_score": float(scores[at])} for at in best]
        if body.return_documents:
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        return {"model": name, "results": results, "usage": _usage(index, [body.query, *texts])}

    return routes


def embedder_name(index: Index) -> str:
    """What the index's embedder is called here: a folder by its last part."""
    return _called(index.embedder.name)


def ranker_name(index: Index) -> str:
    """What `/v1/rerank` ranks with."""
    return _called(index.reranker.name) if index.reranker is not None else embedder_name(index)


def _called(model: str) -> str:
    return Path(model).name if Path(model).is_dir() else model


def _scorer(index: Index, query: str) -> tuple[str, Callable[[Sequence[str]], Sequence[float]]]:
    reranker, embedder = index.reranker, index.embedder
    if reranker is not None:
        return ranker_name(index), lambda texts: reranker.score(query, texts)
    return ranker_name(index), lambda texts: (encode_all(embedder, texts) @ embedder.encode_query(query)).tolist()


def _by_turns[T](compute: threading.Lock, work: Callable[[Sequence[str]], T], texts: Sequence[str]) -> list[T]:
    """Work on a few texts at a time, with turns for others in between."""

    def parts() -> Iterator[T]:
        for at in range(0, len(texts), AT_ONCE):
            with compute:
                try:
                    yield work(texts[at : at + AT_ONCE])
                finally:
                    release_workers()

    return list(parts())


def _checked(texts: list[str], field: str) -> list[str]:
    if not texts:
        raise ApiError(400, f"{field}: there is none")
    if len(texts) > MOST_TEXTS:
        raise ApiError(400, f"{field}: at most {MOST_TEXTS} at a time")
    return texts


def _same(asked: str, name: str) -> None:
    if asked != name:
        raise ApiError(404, f"the model {asked!r:.100} does not exist here; this one is {name!r}", "model_not_found")


def _written(vector: np.ndarray[Any, Any], form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(x) for x in vector]


def _usage(index: Index, texts: Sequence[str]) -> dict[str, int]:
    tokens = sum(index.embedder.count(texts))
    return {"prompt_tokens": tokens, "total_tokens": tokens}
