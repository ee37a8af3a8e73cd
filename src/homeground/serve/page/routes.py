"""Routes of the page: its own files, runs, the index, and questions, whose answers come as server-sent events.

Without the key, the app's guard admits only requests for the page's files.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from homeground.base.errors import HomegroundError, UsageError
from homeground.index import Index, Tools
from homeground.index.tools import MOST_NAME
from homeground.rollouts.requests import Fields
from homeground.runs.run_list import named_runs
from homeground.runs.workspace import RunFolder, Workspace
from homeground.serve.page import indexed, runs

if TYPE_CHECKING:
    from homeground.agents.answering import Answerer
    from homeground.agents.events import Event


type Skipped = Annotated[int, Query(ge=0, le=2**53)]
"""Rows, or bytes of a file, that were given before."""
type Name = Annotated[str, Query(max_length=MOST_NAME)]
type Step = Annotated[int, Query(ge=0, le=10**9)]


def page_routes(
    workspace: Workspace,
    index: Index | None,
    models: Mapping[str, Answerer],
    place: Callable[..., Any],
) -> APIRouter:
    """Routes of the page's files and data.

    Args:
        workspace: workspace of the runs that are shown.
        index: index that is listed and read; None if nothing is indexed.
        models: models that answer questions, by name, the default one first; may be empty.
        place: a dependency that an answer holds until it ends; refuses when too many run.

    Raises:
        HomegroundError: raised by the routes if a run or a file is missing; the app makes it an error response.
    """
    router = APIRouter()
    router.include_router(file_routes())
    shown = APIRouter(prefix="/page", tags=["page"])
    for routes in (_run_routes(workspace), _index_routes(index), ask_routes(models, place)):
        shown.include_router(routes)
    router.include_router(shown)
    return router


def _index_routes(index: Index | None) -> APIRouter:
    router = APIRouter()

    def there() -> Index:
        if index is None:
            hint = "run homeground index FOLDER, then start homeground serve again"
            raise UsageError("nothing is indexed here", where="index", hint=hint)
        return index

    def lines(path: str, start: int, end: int | None) -> dict[str, Any]:
        index = there()
        return index.at_newest(lambda: Tools(index).read(path, start, end)).to_json()

    @router.get("/read")
    async def read(path: Name, start: int = 1, end: int | None = None) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Lines of an indexed file, as the index holds them; at most 400."""
        return await run_in_threadpool(lines, path, start, end)

    @router.get("/index")
    async def facts() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """What is indexed, and how many files were left out why."""
        return await run_in_threadpool(there().at_newest, lambda: indexed.facts(there()))

    @router.get("/index/files")
    async def files(like: Name = "", language: Name = "", skip: Skipped = 0) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Indexed files, a page of them at a time."""
        return await run_in_threadpool(there().at_newest, lambda: indexed.files(there(), like, language, skip))

    @router.get("/index/left-out")
    async def left_out(like: Name = "", reason: Name = "", skip: Skipped = 0) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """What was left out and why, a page at a time."""
        return await run_in_threadpool(there().at_newest, lambda: indexed.left_out(there(), like, reason, skip))

    return router


def _run_routes(workspace: Workspace) -> APIRouter:
    router = APIRouter(prefix="/runs")

    def named(name: str) -> RunFolder:
        return named_runs(workspace, [name])[0]

    @router.get("")
    async def listed() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """All runs of the workspace, the newest first."""
        return await run_in_threadpool(runs.listed, workspace)

    @router.get("/{name}")
    async def run(name: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """What a run measured, and how it was made."""
        return await run_in_threadpool(lambda: runs.document(named(name)))

    @router.get("/{name}/steps")
    async def steps(  # pyright: ignore[reportUnusedFunction]
        name: str, mark: str = "", skip: Skipped = 0
    ) -> dict[str, Any]:
        """Rows of its metrics.jsonl behind what was read before."""
        return await run_in_threadpool(lambda: runs.steps_since(named(name), mark, skip))

    @router.get("/{name}/rollouts")
    async def rollouts(  # pyright: ignore[reportUnusedFunction]
        name: str, step: Step
    ) -> dict[str, Any]:
        """What one step tried."""
        return await run_in_threadpool(lambda: runs.rollouts(named(name), step))

    return router


_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # What is indexed and what a model writes must never become markup: no script may even try.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The files change with the version of the server, under the same names.
    "Cache-Control": "no-cache",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def file_routes() -> APIRouter:
    """`GET /` and `GET /page/files/NAME`, for anyone."""
    folder = files("homeground.serve.page") / "files"
    held = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES}
    router = APIRouter(include_in_schema=False)

    async def file(name: str = "index.html") -> Response:
        if name not in held:
            raise HTTPException(404, "the page has no such file")
        return Response(held[name], media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)

    async def front() -> Response:
        return await file()

    router.add_api_route("/", front)
    router.add_api_route("/page/files/{name}", file)
    return router


MOST_MESSAGES = 200
MOST_CHARACTERS = 200_000


class Said(Fields):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["user", "assistant"]
    content: str = Field(max_length=MOST_CHARACTERS)


class Asked(Fields):
    """A conversation whose last message wants an answer."""

    model_config = ConfigDict(extra="forbid")
    messages: list[Said] = Field(min_length=1, max_length=MOST_MESSAGES)
    model: str | None = None
    agentic: bool = False


def ask_routes(models: Mapping[str, Answerer], place: Callable[..., Any]) -> APIRouter:
    """`GET /models` and `POST /ask`.

    Args:
        models: by name; the first is asked where none is named.
        place: a dependency that an answer holds until its stream ends; refuses where too many run.
    """
    router = APIRouter()

    @router.get("/models")
    async def listed() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Who can be asked."""
        return {"models": [{"name": name, "agentic": one.agentic} for name, one in models.items()]}

    @router.post("/ask", response_class=StreamingResponse, dependencies=[Depends(place)])
    async def ask(asked: Asked) -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """Answer a conversation: `data: {"event": ...}` for each event, as it comes."""
        model = _named(models, asked.model)
        messages = [{"role": one.role, "content": one.content} for one in asked.messages]
        events = model.stream(messages, agentic=asked.agentic)
        # What is wrong with the question is known before the first event, and is an error of the request.
        first = await anext(events)
        return StreamingResponse(_told(first, events), media_type="text/event-stream")

    return router


def _named(models: Mapping[str, Answerer], name: str | None) -> Answerer:
    if not models:
        raise UsageError("no model is served", where="model", hint="train one, then start homeground serve again")
    if name is not None and name not in models:
        raise UsageError(f"no model is called {name!r:.100}", where="model", hint=f"there are: {', '.join(models)}")
    return next(iter(models.values())) if name is None else models[name]


async def _told(first: Event, rest: AsyncGenerator[Event]) -> AsyncGenerator[str]:
    """Every event as a block of the stream; a reader who leaves ends the sampling, an error becomes the last event."""
    try:
        yield _block(first.to_json())
        async for event in rest:
            yield _block(event.to_json())
    except HomegroundError as error:
        yield _block({"event": "error", **error.to_json()})
    finally:
        await rest.aclose()


def _block(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False, allow_nan=False)}\n\n"
