"""The serving app: the model server that RL uses, and search, behind one key."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Query
from starlette.concurrency import run_in_threadpool

from homeground.index import Index
from homeground.rollouts import ModelServer


def create_app(models: ModelServer, index: Index) -> FastAPI:
    """One app: ``/v1`` of the model server, ``/search`` over the index, ``/healthz``.

    Args:
        models: its key is the app's key.
        index: what is searched.
    """
    app = FastAPI(title="Homeground", docs_url=None, redoc_url=None, openapi_url=None)

    async def search(q: str = Query(min_length=1), k: int = Query(10, ge=1, le=100)) -> dict[str, Any]:
        hits = await run_in_threadpool(index.search, q, k)
        return {"query": q, "hits": [hit.to_json() for hit in hits]}

    app.add_api_route("/search", search, dependencies=[Depends(models.guard)])
    app.mount("/", models.app)
    return app
