"""An OpenAI-compatible model server over the sampler: what agents and the Agent Lightning gateway call.

Responses carry what training needs: the prompt's ids as the model read them, the sampled ids, their
log-probabilities, and the version of the weights. When a conversation comes back with the server's own earlier
answer in it, its prompt is built from the ids that were *sampled* then, so re-tokenization cannot drift.

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
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.sampler import Generation, Sampler
from homeground.rollouts.sampling import SamplingParams

REMEMBERED_TURNS = 4096
DEFAULT_MAX_TOKENS = 256
# What says who asks or how to file it, and the gateway's wish for something that only mixtures of experts have.
WITHOUT_EFFECT = {"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "return_routed_experts"}


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
    seed: int | None = None
    logprobs: bool = False
    return_token_ids: bool = False
    n: int = 1
    stream: bool = False
    stop: Any = None
    tools: Any = None
    response_format: Any = None


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


class TurnMemory:
    """Conversations that this server answered, by content, and the ids that they were sampled as."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._turns: OrderedDict[bytes, list[int]] = OrderedDict()

    def prompt(self, messages: Sequence[chat.Message]) -> list[int]:
        """Prompt ids of a conversation; its last answered turn keeps its sampled ids."""
        last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=None)
        if last is not None and (known := self._turns.get(_key(messages[: last + 1]))) is not None:
            extended = chat.extend(self._tokenizer, messages[: last + 1], known, messages)
            if extended is not None:
                return extended
        return chat.encode(self._tokenizer, chat.prompt_text(self._tokenizer, messages))

    def remember(self, messages: Sequence[chat.Message], answer: str, generation: Generation) -> None:
        """Keep a turn; where siblings wrote the same text with other ids, either is a valid history."""
        key = _key([*messages, {"role": "assistant", "content": answer}])
        self._turns[key] = generation.prompt_ids + generation.ids
        self._turns.move_to_end(key)
        if len(self._turns) > REMEMBERED_TURNS:
            self._turns.popitem(last=False)


class ModelServer:
    """Serves a sampler on 127.0.0.1 from a thread of its own; use it as a context manager.

    Args:
        sampler: what answers.
        tokenizer: with a chat template.
        model: the name that requests must use.
        seed: requests without a seed of their own get one from (this seed, weights version, prompt, how many times
            that prompt was asked), so a run does not depend on the order in which requests arrive.
    """

    def __init__(
        self, sampler: Sampler, tokenizer: PreTrainedTokenizerBase, *, model: str = "policy", seed: int = 0
    ) -> None:
        self.model = model
        self.secret = secrets.token_urlsafe(24)
        self._sampler = sampler
        self._tokenizer = tokenizer
        self._memory = TurnMemory(tokenizer)
        self._seed = seed
        self._asked: Counter[tuple[int, bytes]] = Counter()
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
        return {"status": "ok", "weights_version": self._sampler.weights_version}

    async def _models(self, request: Request) -> dict[str, Any]:
        self._authorize(request)
        return {"object": "list", "data": [{"id": self.model, "object": "model", "owned_by": "homeground"}]}

    async def _chat(self, request: Request, body: ChatRequest) -> dict[str, Any]:
        self._authorize(request)
        self._check(body)
        messages: list[chat.Message] = [m.model_dump() for m in body.messages]
        try:
            prompt = self._memory.prompt(messages)
        except HomegroundError as error:
            raise ApiError(400, error.message) from error
        params = SamplingParams(body.temperature, body.top_p, body.top_k, self._seed_of(body, prompt))
        limit = body.max_completion_tokens or body.max_tokens or DEFAULT_MAX_TOKENS
        try:
            end = chat.end_token(self._tokenizer)
            future = self._sampler.submit(prompt, limit, params, stop_ids=[end])
        except ValueError as error:
            raise ApiError(400, str(error), "context_length_exceeded") from error
        generation = await _unless_gone(request, asyncio.wrap_future(future))
        written = generation.ids[:-1] if generation.ids[-1] == end else generation.ids
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        assert isinstance(text, str)
        self._memory.remember(messages, text, generation)
        return self._answer(body, generation, text)

    def _authorize(self, request: Request) -> None:
        given = request.path_params.get("secret") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self.secret.encode()):
            raise ApiError(401, "missing or wrong key: send it as 'Authorization: Bearer KEY'", "invalid_api_key")

    def _check(self, body: ChatRequest) -> None:
        if body.model != self.model:
            raise ApiError(
                404, f"the model {body.model!r} does not exist; this server has {self.model!r}", "model_not_found"
            )
        refused = {
            "stream": body.stream,
            "n > 1": body.n != 1,
            "stop": bool(body.stop),
            "tools": bool(body.tools),
            "response_format": body.response_format not in (None, {"type": "text"}),
        }
        # A neutral value (a penalty of 0, an empty bias) asks for what happens anyway.
        refused |= {name: bool(value) for name, value in (body.model_extra or {}).items() if name not in WITHOUT_EFFECT}
        if asked := [name for name, wanted in refused.items() if wanted]:
            raise ApiError(400, f"this server does not support {', '.join(asked)} yet", "unsupported_parameter")

    def _seed_of(self, body: ChatRequest, prompt: list[int]) -> int:
        if body.seed is not None:
            return body.seed
        key = hashlib.blake2b(json.dumps(prompt).encode(), digest_size=12).digest()
        version = self._sampler.weights_version
        count = self._asked[version, key]
        self._asked[version, key] += 1
        text = f"{self._seed}:{version}:{key.hex()}:{count}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")

    def _answer(self, body: ChatRequest, generation: Generation, text: str) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
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
        answer: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": len(generation.prompt_ids),
                "completion_tokens": len(generation.ids),
                "total_tokens": len(generation.prompt_ids) + len(generation.ids),
            },
            "request_id": uuid.uuid4().hex,
            "weights_version": generation.weights_version,
        }
        if body.return_token_ids:
            answer["prompt_token_ids"] = generation.prompt_ids
            choice["token_ids"] = generation.ids
        return answer


async def _unless_gone(request: Request, result: asyncio.Future[Generation]) -> Generation:
    """Wait for a generation; a client that hangs up cancels it."""

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


def _key(messages: Sequence[chat.Message]) -> bytes:
    plain = [[m["role"], m["content"]] for m in messages]
    return hashlib.blake2b(json.dumps(plain).encode(), digest_size=16).digest()
