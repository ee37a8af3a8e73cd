"""The serving app: the model server that RL uses, and search, behind one key."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, Query
from starlette.concurrency import run_in_threadpool

from homeground.base.errors import HomegroundError
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


def serve_forever(app: FastAPI, port: int, announce: Callable[[str], None]) -> None:
    """Serve on 127.0.0.1 until interrupted; answers that run are finished first.

    Args:
        app: from :func:`create_app`.
        port: 0 takes a free one.
        announce: gets ``http://127.0.0.1:PORT`` once requests are accepted.

    Raises:
        HomegroundError: the port is taken.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise HomegroundError(
            f"port {port} cannot be used: {error.strerror}", where="127.0.0.1", hint="name another one with --port"
        ) from error

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce(f"http://127.0.0.1:{listener.getsockname()[1]}")

    with listener:
        Announced(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listener])
