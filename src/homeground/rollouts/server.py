"""An OpenAI-compatible model server over an engine, for agents and the Agent Lightning gateway.

Responses carry the data for training: the prompt's ids as the model read them, the sampled ids, their
log-probabilities, and the version of the weights.

The secret may come as a bearer token or, because the gateway forwards no headers, as the first part of the path:
``http://127.0.0.1:PORT/SECRET/v1`` (:mod:`homeground.base.http_guard`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.base.http_guard import KEY_IN_PATH, BoundedHttp, HttpGuard
from homeground.rollouts.conversation import DEFAULT_MAX_TOKENS, Call, Conversations
from homeground.rollouts.engine import Engine
from homeground.rollouts.requests import ApiError, ChatRequest, CompletionRequest, Sampled, in_words
from homeground.rollouts.responses import Response
from homeground.rollouts.stream import Stream, events

REMEMBERED_PROMPTS = 65536
MOST_DIRECT = 256
FAILED = ApiError(500, "the server failed at this request; its own output says why")
GATEWAY_S = 290.0
"""The gateway waits for 300 seconds and then asks again."""
EVENT_STREAM = "text/event-stream"
OPEN_PATHS = ("/healthz",)


class ModelServer:
    """Serves an engine on 127.0.0.1 from a thread of its own; use it as a context manager.

    ``conversations`` holds what answers, by the names of the models; the first is the default's.

    Args:
        engine: what answers.
        tokenizer: with a chat template.
        model: the name that requests must use.
        also: further engines by name, for models with the same tokenizer.
        secret: the key; a random one if None.
        seed: requests without a seed of their own get one from (this seed, weights version, prompt, how many times
            that prompt was asked), so a run does not depend on the order in which requests arrive, except that
            equal prompts are told apart by nothing else: rollouts send seeds.
        most_direct: requests that may wait at once, of clients that send the key in a header; further ones get 429.
            The gateway's, with the key in their path, are never refused: it would give up on them.
        gateway: requests with the key in their path are the gateway's. Else they count like the others.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model: str = "policy",
        also: Mapping[str, Engine] | None = None,
        secret: str | None = None,
        seed: int = 0,
        most_direct: int = MOST_DIRECT,
        gateway: bool = True,
    ) -> None:
        self.model = model
        self.secret = secret or secrets.token_urlsafe(24)
        self.engine = engine
        self._tokenizer = tokenizer
        self.conversations = {
            name: Conversations(one, tokenizer) for name, one in {model: engine, **(also or {})}.items()
        }
        self._seed = seed
        self._most_direct, self._gateway = most_direct, gateway
        self._direct = 0
        self._asked: OrderedDict[tuple[str, int, bytes], int] = OrderedDict()
        self.app = self._build()
        self._server: uvicorn.Server | None = None

    @property
    def models(self) -> list[str]:
        """Names that requests may use."""
        return list(self.conversations)

    @property
    def waiting(self) -> int:
        """Requests of direct clients that are being answered or wait."""
        return self._direct

    @property
    def root(self) -> str:
        """Base URL without the path that clients need."""
        assert self._server is not None, "enter the context first"
        return f"http://127.0.0.1:{self._port}"

    @property
    def endpoint(self) -> str:
        """The URL for a client that cannot send headers; it ends in /v1 and contains the secret."""
        return f"{self.root}/{self.secret}/v1"

    @property
    def alive(self) -> bool:
        """Whether it serves; False when its thread has ended."""
        return self._server is not None and self._thread.is_alive()

    def __enter__(self) -> ModelServer:
        self._serve(port=0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._socket.close()

    def revive(self) -> None:
        """Serve again, at the same address and with the same key, after its thread has ended."""
        assert self._server is not None, "enter the context first"
        self._socket.close()
        self._direct = 0
        self._serve(self._port)

    def _serve(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self._port: int = self._socket.getsockname()[1]
        guarded = HttpGuard(self.app, self.secret, _refused_early, OPEN_PATHS)
        config = uvicorn.Config(guarded, http=BoundedHttp, log_level="warning", lifespan="off", timeout_keep_alive=120)
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

    def _build(self) -> FastAPI:
        app = FastAPI(title="Homeground model server", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/healthz", self._health)
        app.add_api_route("/v1/models", self._models, response_model=None)
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"], response_model=None)
        app.add_api_route("/v1/completions", self._complete, methods=["POST"], response_model=None)
        explain_errors(app, lambda _, error: error.body())
        return app

    async def _health(self) -> dict[str, Any]:
        return {"status": "ok", "weights_version": self.engine.weights_version}

    async def _models(self) -> dict[str, Any]:
        data = [{"id": name, "object": "model", "owned_by": "homeground"} for name in self.models]
        return {"object": "list", "data": data}

    async def chat(self, request: Request, body: ChatRequest) -> Any:
        """Answer a chat request: a document, or a response in pieces.

        Raises:
            ApiError: why it is not answered.
        """
        return await self._served(request, body, self._chat_call)

    async def _complete(self, request: Request, body: CompletionRequest) -> Any:
        return await self._served(request, body, self._text_call)

    async def _served[B: Sampled](
        self, request: Request, body: B, call_of: Callable[[B], tuple[Call, list[int]]]
    ) -> Any:
        """Answer a request, whole or in pieces; those that came past the gateway wait for their turn."""
        body.check(self.models)
        call, prompt = call_of(body)
        conversations = self.conversations[body.model]
        response = Response(
            body.model, self._tokenizer, chat=isinstance(body, ChatRequest), likeliest=body.likeliest,
            ids=body.return_token_ids,
        )  # fmt: skip
        direct = not (self._gateway and KEY_IN_PATH in request.scope)
        if direct:
            self.enter()
        if body.stream:
            stream = Stream(conversations, call, prompt, self.leave if direct else None)
            await _asked(stream.begin())
            counted = body.stream_options is not None and body.stream_options.include_usage
            return StreamingResponse(events(stream, response, counted=counted), media_type=EVENT_STREAM)
        try:
            limit = None if direct else GATEWAY_S
            work = asyncio.create_task(conversations.answer(call, prompt))
            answers = await _asked(unless_gone(request, work, limit))
            return response.whole(answers)
        finally:
            if direct:
                self.leave()

    def enter(self) -> None:
        """Take a place among the direct clients' answers, also for one that an app around this one writes.

        Raises:
            ApiError: there is none.
        """
        if self._direct >= self._most_direct:
            raise ApiError(429, "too many requests are waiting", "rate_limit_exceeded", {"Retry-After": "2"})
        self._direct += 1

    def leave(self) -> None:
        """Give it back."""
        self._direct -= 1

    async def place(self) -> AsyncIterator[None]:
        """A dependency of routes around this app: a place from before the route until its response has ended."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def _chat_call(self, body: ChatRequest) -> tuple[Call, list[int]]:
        try:
            call = body.call(body.prompt_cache_key or "")
            prompt = self.conversations[body.model].prompt(call.messages, call.owner, call.tools)
        except HomegroundError as error:
            raise _unanswerable(error) from error
        limit, params = self._limit(body, prompt), body.params(self._seed_of(body, prompt))
        return replace(call, max_tokens=limit, params=params), prompt

    def _text_call(self, body: CompletionRequest) -> tuple[Call, list[int]]:
        try:
            self.conversations[body.model].check_size(body.prompt)
        except HomegroundError as error:
            raise _unanswerable(error) from error
        prompt = body.ids(self._tokenizer)
        params = body.params(self._seed_of(body, prompt))
        return Call([], self._limit(body, prompt), params, body.stops, body.n, remembered=False), prompt

    def _limit(self, body: Sampled, prompt: list[int]) -> int:
        """Limit on an answer's tokens; if the request has none, the free part of the context."""
        room = self.conversations[body.model].engine.context - len(prompt)
        return body.limit(max(1, min(DEFAULT_MAX_TOKENS, room)))

    def _seed_of(self, body: Sampled, prompt: list[int]) -> int:
        if body.seed is not None:
            return body.seed
        key = hashlib.blake2b(json.dumps(prompt).encode(), digest_size=12).digest()
        version = self.conversations[body.model].engine.weights_version
        count = self._asked.pop((body.model, version, key), 0)
        self._asked[body.model, version, key] = count + 1
        if len(self._asked) > REMEMBERED_PROMPTS:
            self._asked.popitem(last=False)
        text = f"{self._seed}:{version}:{key.hex()}:{count}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


async def _asked[T](work: Awaitable[T]) -> T:
    """Wait for an answer; what the engine cannot do is the client's mistake."""
    try:
        return await work
    except (ValueError, HomegroundError) as error:
        raise _unanswerable(error) from error


def _unanswerable(error: ValueError | HomegroundError) -> ApiError:
    words = in_words(error) if isinstance(error, HomegroundError) else str(error)
    return ApiError(400, words, "context_length_exceeded" if "context of" in words else None)


async def unless_gone[T](request: Request, result: asyncio.Task[T], limit_s: float | None) -> T:
    """Wait for a task; a client that hangs up cancels it, and so does the end of its time.

    Raises:
        ApiError: nobody waits for it, or it took too long.
    """

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    gone = asyncio.create_task(hang_up())
    try:
        await asyncio.wait({gone, result}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        result.cancel()
        if gone.done():
            raise ApiError(499, "the client closed the connection")
        raise ApiError(503, f"no answer within {limit_s:.0f} s: fewer rollouts at a time, or shorter answers")
    finally:
        gone.cancel()


def explain_errors(app: FastAPI, document: Callable[[str, ApiError], Mapping[str, Any]]) -> None:
    """Answer requests that are refused, cannot be read or fail.

    Args:
        app: gets the handlers.
        document: builds the response from the request's path and the error.
    """

    async def answer(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            error = _invalid(error)
        elif isinstance(error, HTTPException):
            error = ApiError(error.status_code, str(error.detail), headers=error.headers)
        refused = error if isinstance(error, ApiError) else FAILED
        return JSONResponse(document(request.scope["path"], refused), refused.status, headers=refused.headers)

    for kind in (ApiError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _invalid(error: RequestValidationError) -> ApiError:
    """Error for an invalid request; it names the parameter."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return ApiError(400, f"{where or 'the body'}: {first['msg']}", param=where or None)


def _refused_early(_: str, status: int, message: str, code: str | None) -> dict[str, Any]:
    return ApiError(status, message, code).body()
