"""Errors of the served app: in OpenAI's form below ``/v1``, as `{"error", "where", "hint"}` elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from homeground.base.errors import HomegroundError, RestartNeededError, clipped
from homeground.rollouts.requests import ApiError
from homeground.rollouts.server import FAILED, invalid


def explain_errors(app: FastAPI) -> None:
    """Answer what a client or a person did wrong with words that help."""
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(HomegroundError, _explained)
    app.add_exception_handler(Exception, _failed)


def refusal(path: str, status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Build the document of a refusal."""
    return _document(path, ApiError(status, message, code))


def _document(path: str, error: ApiError) -> dict[str, Any]:
    if path.startswith("/v1/"):
        return error.body()
    return dict(HomegroundError(clipped(error.message), where=clipped(path)).to_json())


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return JSONResponse(_document(request.scope["path"], error), error.status, headers=error.headers)


async def _failed(request: Request, _: Exception) -> JSONResponse:
    return await _refused(request, FAILED)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return await _refused(request, invalid(error))


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return await _refused(request, ApiError(error.status_code, str(error.detail), headers=error.headers))


async def _explained(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HomegroundError)
    status = 503 if isinstance(error, RestartNeededError) else 400
    if request.scope["path"].startswith("/v1/"):
        return await _refused(request, ApiError(status, str(error)))
    return JSONResponse({name: words and clipped(words) for name, words in error.to_json().items()}, status)
