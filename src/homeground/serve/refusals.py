"""Errors of the served app: in OpenAI's form below ``/v1``, as `{"error", "where", "hint"}` elsewhere."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from homeground.base.errors import HomegroundError, RestartNeededError
from homeground.rollouts.requests import ApiError


def explain_errors(app: FastAPI) -> None:
    """Answer what a client or a person did wrong with words that help."""
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(HomegroundError, _explained)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    if request.url.path.startswith("/v1/"):
        return JSONResponse(error.body(), error.status, headers=error.headers)
    document = HomegroundError(error.message, where=request.url.path).to_json()
    return JSONResponse(document, error.status, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    return await _refused(request, ApiError(400, f"{where}: {first['msg']}"))


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return await _refused(request, ApiError(error.status_code, str(error.detail), headers=error.headers))


async def _explained(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HomegroundError)
    status = 503 if isinstance(error, RestartNeededError) else 400
    if request.url.path.startswith("/v1/"):
        return await _refused(request, ApiError(status, str(error)))
    return JSONResponse(error.to_json(), status)
