"""Routes of the page; without the key, the app's guard admits only requests for the page's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from homeground.base.errors import UsageError
from homeground.base.run_list import named_runs
from homeground.base.workspace import RunFolder, Workspace
from homeground.index import Index, Tools
from homeground.index.tools import MOST_NAME
from homeground.serve.page import indexed, runs
from homeground.serve.page.ask import ask_routes
from homeground.serve.page.static import file_routes

if TYPE_CHECKING:
    from homeground.agents.answering import Answerer

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
