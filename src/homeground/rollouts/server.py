"""An OpenAI-compatible model server over an engine: what agents and the Agent Lightning gateway call.

Responses carry what training needs: the prompt's ids as the model read them, the sampled ids, their
log-probabilities, and the version of the weights.

The secret may come as a bearer token or, because the gateway forwards no headers, as the first part of the path:
``http://127.0.0.1:PORT/SECRET/v1``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.conversation import (
    DEFAULT_MAX_TOKENS,
    MOST_CHOICES,
    Answer,
    Call,
    Conversations,
    refused,
    stop_strings,
)
from homeground.rollouts.engine import Engine
from homeground.rollouts.sampling import SamplingParams

REMEMBERED_PROMPTS = 65536
WRONG_KEY = "missing or wrong key: send it as 'Authorization: Bearer KEY'"


class ChatMessage(BaseModel):
    """A message; content is plain text."""

    role: str
    content: str


class ChatRequest(BaseModel):
    """The part of OpenAI's chat completion request that this server does; the rest is refused by name, not ignored."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0, le=1)
    seed: int | None = None
    logprobs: bool = False
    return_token_ids: bool = False
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    stop: str | list[str] | None = None
    prompt_cache_key: str | None = None


class ApiError(Exception):
    """An error in the form that OpenAI's clients understand."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code

    def response(self) -> JSONResponse:
        """As JSON."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return JSONResponse(
            {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}, self.status
        )


class ModelServer:
    """Serves an engine on 127.0.0.1 from a thread of its own; use it as a context manager.

    Args:
        engine: what answers.
        tokenizer: with a chat template.
        model: the name that requests must use.
        seed: requests without a seed of their own get one from (this seed, weights version, prompt, how many times
            that prompt was asked), so a run does not depend on the order in which requests arrive, except that
            equal prompts are told apart by nothing else: rollouts send seeds.
    """

    def __init__(
        self, engine: Engine, tokenizer: PreTrainedTokenizerBase, *, model: str = "policy", seed: int = 0
    ) -> None:
        self.model = model
        self.secret = secrets.token_urlsafe(24)
        self._engine = engine
        self._tokenizer = tokenizer
        self._conversations = Conversations(engine, tokenizer)
        self._seed = seed
        self._asked: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        self.app = self._build()
        self._server: uvicorn.Server | None = None

    @property
    def root(self) -> str:
        """Base URL without the path that clients need."""
        assert self._server is not None, "enter the context first"
        host, port = self._socket.getsockname()
        return f"http://{host}:{port}"

    @property
    def endpoint(self) -> str:
        """The URL for a client that cannot send headers; it ends in /v1 and contains the secret."""
        return f"{self.root}/{self.secret}/v1"

    def __enter__(self) -> ModelServer:
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(self.app, log_level="warning", lifespan="off", timeout_keep_alive=120)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="homeground-server", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise HomegroundError("the model server did not start", hint="see the lines above for uvicorn's reason")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._socket.close()

    def _build(self) -> FastAPI:
        app = FastAPI(title="Homeground model server", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/healthz", self._health)
        for prefix in ("/v1", "/{secret}/v1"):
            app.add_api_route(f"{prefix}/models", self._models)
            app.add_api_route(f"{prefix}/chat/completions", self._chat, methods=["POST"])
        app.add_exception_handler(ApiError, lambda _, error: error.response())  # type: ignore[attr-defined, arg-type, return-value]
        app.add_exception_handler(RequestValidationError, _explain)
        return app

    async def _health(self) -> dict[str, Any]:
        return {"status": "ok", "weights_version": self._engine.weights_version}

    async def _models(self, request: Request) -> dict[str, Any]:
        self._authorize(request)
        return {"object": "list", "data": [{"id": self.model, "object": "model", "owned_by": "homeground"}]}

    async def _chat(self, request: Request, body: ChatRequest) -> dict[str, Any]:
        self._authorize(request)
        self._check(body)
        messages: list[chat.Message] = [m.model_dump() for m in body.messages]
        owner = body.prompt_cache_key or ""
        try:
            prompt = self._conversations.prompt(messages, owner)
        except HomegroundError as error:
            raise ApiError(400, error.message) from error
        params = SamplingParams(body.temperature, body.top_p, body.top_k, self._seed_of(body, prompt), body.min_p)
        limit = body.max_completion_tokens or body.max_tokens or DEFAULT_MAX_TOKENS
        call = Call(messages, limit, params, stop_strings(body.stop), body.n, owner)
        try:
            answers = await _unless_gone(request, asyncio.create_task(self._conversations.answer(call, prompt)))
        except ValueError as error:
            code = "context_length_exceeded" if "context" in str(error) else None
            raise ApiError(400, str(error), code) from error
        return self._response(body, answers)

    def _authorize(self, request: Request) -> None:
        if not self.admits(request):
            raise ApiError(401, WRONG_KEY, "invalid_api_key")

    def admits(self, request: Request) -> bool:
        """Whether a request carries the key, in its header or as the first part of a path that has one."""
        given = request.path_params.get("secret") or request.headers.get("authorization", "").removeprefix("Bearer ")
        return secrets.compare_digest(given.encode(), self.secret.encode())

    def guard(self, request: Request) -> None:
        """The same check for routes of an app around this one.

        Raises:
            HTTPException: 401.
        """
        if not self.admits(request):
            raise HTTPException(401, WRONG_KEY)

    def _check(self, body: ChatRequest) -> None:
        if body.model != self.model:
            raise ApiError(
                404, f"the model {body.model!r} does not exist; this server has {self.model!r}", "model_not_found"
            )
        if asked := refused(body.model_extra or {}):
            raise ApiError(400, f"this server does not support {', '.join(asked)} yet", "unsupported_parameter")

    def _seed_of(self, body: ChatRequest, prompt: list[int]) -> int:
        if body.seed is not None:
            return body.seed
        key = hashlib.blake2b(json.dumps(prompt).encode(), digest_size=12).digest()
        version = self._engine.weights_version
        count = self._asked.pop((version, key), 0)
        self._asked[version, key] = count + 1
        if len(self._asked) > REMEMBERED_PROMPTS:
            self._asked.popitem(last=False)
        text = f"{self._seed}:{version}:{key.hex()}:{count}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")

    def _response(self, body: ChatRequest, answers: Sequence[Answer]) -> dict[str, Any]:
        first = answers[0].generation
        written = sum(len(answer.generation.ids) for answer in answers)
        response: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [self._choice(body, index, answer) for index, answer in enumerate(answers)],
            "usage": {
                "prompt_tokens": len(first.prompt_ids),
                "completion_tokens": written,
                "total_tokens": len(first.prompt_ids) + written,
            },
            "request_id": uuid.uuid4().hex,
            "weights_version": first.weights_version,
        }
        if body.return_token_ids:
            response["prompt_token_ids"] = first.prompt_ids
        return response

    def _choice(self, body: ChatRequest, index: int, answer: Answer) -> dict[str, Any]:
        generation = answer.generation
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": answer.text},
            "finish_reason": generation.finish_reason.value,
            "logprobs": None,
        }
        if body.logprobs:
            tokens = [self._tokenizer.decode([i]) for i in generation.ids]
            choice["logprobs"] = {
                "content": [
                    {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": []}
                    for token, logprob in zip(tokens, generation.logprobs, strict=True)
                ]
            }
        if body.return_token_ids:
            choice["token_ids"] = generation.ids
        return choice


async def _unless_gone[T](request: Request, result: asyncio.Task[T]) -> T:
    """Wait for a task; a client that hangs up cancels it."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    gone = asyncio.create_task(hang_up())
    try:
        await asyncio.wait({gone, result}, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            result.cancel()
            raise ApiError(499, "the client closed the connection")
        return result.result()
    finally:
        gone.cancel()


async def _explain(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    return ApiError(400, f"{where}: {first['msg']}").response()
