"""The serving app: the model server that RL uses, search and what belongs to it, and the page, behind one token."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from homeground import __version__
from homeground.base.errors import HomegroundError, RestartNeededError, clipped
from homeground.base.http_guard import HttpGuard
from homeground.rollouts import ModelServer, server
from homeground.rollouts.requests import ApiError, ChatRequest
from homeground.serve.answers import IndexAnswers
from homeground.serve.metrics import Measured, Metrics
from homeground.serve.page import page_routes
from homeground.serve.retrieval import embedder_name, ranker_name, retrieval_routes

if TYPE_CHECKING:
    from homeground.pipeline.serving import Serving


OPEN_PATHS = ("/healthz", "/", "/page/files/")
"""Paths that need no token: the health check, and the page's files without data."""


def create_app(serving: Serving, token: str) -> FastAPI:
    """One app over what is served.

    Args:
        serving: entered.
        token: what every request carries, but for `/healthz` and the page's own files.
    """
    first, *others = serving.names
    models = ModelServer(
        serving.engines[first],
        serving.tokenizer,
        model=first,
        also={name: serving.engines[name] for name in others},
        secret=token,
        seed=serving.recipe.seed,
        most_direct=serving.recipe.serve.waiting,
        gateway=False,
    )
    app = FastAPI(title="Homeground", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    metrics = Metrics(serving.engines, lambda: models.waiting)
    explain_errors(app)
    answerers = serving.answerers(models.conversations)
    answers = IndexAnswers(answerers, models)
    app.include_router(_model_routes(serving, models, answers))
    app.include_router(retrieval_routes(serving))

    async def told() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/metrics", told, response_class=Response)

    async def described() -> dict[str, Any]:
        return description(app, models.app)

    app.add_api_route("/openapi.json", described)
    app.include_router(page_routes(serving.workspace, serving.index, answerers, models.place))
    app.mount("/", models.app)
    app.add_middleware(HttpGuard, key=token, refusal=refusal, open_paths=OPEN_PATHS)
    app.add_middleware(Measured, metrics=metrics, paths=description(app, models.app)["paths"])
    return app


def _model_routes(serving: Serving, models: ModelServer, answers: IndexAnswers) -> APIRouter:
    routes = APIRouter(prefix="/v1")
    started = int(time.time())

    def listed() -> list[dict[str, Any]]:
        names = [*models.models, *answers.models]
        if serving.index is not None:
            names += dict.fromkeys([embedder_name(serving.index), ranker_name(serving.index)])
        return [{"id": name, "object": "model", "created": started, "owned_by": "homeground"} for name in names]

    @routes.get("/models")
    async def every() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction] # the decorator uses it
        """Models that answer, and those behind embeddings and reranking."""
        return {"object": "list", "data": listed()}

    @routes.get("/models/{name:path}")
    async def one(name: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """One of them."""
        for model in listed():
            if model["id"] == name:
                return model
        raise ApiError(404, f"the model {name!r:.100} does not exist", "model_not_found")

    @routes.post("/chat/completions", response_model=None)
    async def chat(request: Request, body: ChatRequest) -> Any:  # pyright: ignore[reportUnusedFunction]
        """A conversation goes on; from the index, where the model's name says so."""
        if body.model in answers.models:
            return await answers.chat(request, body)
        return await models.chat(request, body)

    return routes


def description(app: FastAPI, mounted: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an app and of one mounted on its root."""
    own, inner = app.openapi(), mounted.openapi()
    schemas = {**inner["components"]["schemas"], **own["components"]["schemas"]}
    bearer = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    return {
        **own,
        "paths": {**inner["paths"], **own["paths"]},
        "components": {"schemas": schemas, **bearer},
        "security": [{"token": []}],
    }


def explain_errors(app: FastAPI) -> None:
    """Answer errors in OpenAI's form below ``/v1``, as `{"error", "where", "hint"}` elsewhere."""
    server.explain_errors(app, _document)
    app.add_exception_handler(HomegroundError, _explained)


def refusal(path: str, status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Build the document of a refusal."""
    return _document(path, ApiError(status, message, code))


def _document(path: str, error: ApiError) -> dict[str, Any]:
    if path.startswith("/v1/"):
        return error.body()
    return dict(HomegroundError(clipped(error.message), where=clipped(path)).to_json())


async def _explained(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HomegroundError)
    status = 503 if isinstance(error, RestartNeededError) else 400
    if request.scope["path"].startswith("/v1/"):
        return JSONResponse(_document(request.scope["path"], ApiError(status, str(error))), status)
    return JSONResponse({name: words and clipped(words) for name, words in error.to_json().items()}, status)
