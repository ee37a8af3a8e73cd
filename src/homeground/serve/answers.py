"""``NAME+index``: a model whose chat answers are written from the index, in OpenAI's form.

The answer's text ends with the places that it cites, one a line, for clients that show nothing else. Beside it,
``citations`` say the same to programs, ``sources`` what the model was shown, ``found`` whether the index had something.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from homeground.agents.events import Citation, Done, Event, Sources, Text, citation_of
from homeground.pipeline.serving import INDEXED
from homeground.rollouts.conversation import refused
from homeground.rollouts.requests import ApiError, ChatRequest
from homeground.rollouts.responses import DONE, event
from homeground.rollouts.server import EVENT_STREAM, unless_gone

if TYPE_CHECKING:
    from homeground.agents.answering import Answerer
    from homeground.rollouts import ModelServer


class IndexAnswers:
    """Answers chat requests from an index.

    Args:
        answerers: by the names of their models.
        models: counts the answers that run.
    """

    def __init__(self, answerers: Mapping[str, Answerer], models: ModelServer) -> None:
        self._answerers = {name + INDEXED: answerer for name, answerer in answerers.items()}
        self._models = models

    @property
    def models(self) -> list[str]:
        """Names that requests may use."""
        return list(self._answerers)

    async def chat(self, request: Request, body: ChatRequest) -> Any:
        """A document, or a response in pieces.

        Raises:
            ApiError: why it is not answered.
            HomegroundError: the question is empty or too long.
        """
        told = _Told(self._answerers[body.model], body)
        self._models.enter()
        work = asyncio.create_task(told.read())
        work.add_done_callback(lambda _: self._models.leave())
        if not body.stream:
            await unless_gone(request, work, None)
            return told.whole()
        await told.begun(work)
        return StreamingResponse(told.events(work), media_type=EVENT_STREAM)


class _Told:
    """One answer."""

    def __init__(self, answerer: Answerer, body: ChatRequest) -> None:
        _refuse(body)
        # Greedy where nothing is asked for: an answer with sources is no place for chance.
        params = body.params(body.seed or 0) if "temperature" in body.model_fields_set else None
        self._answers = answerer.stream(body.said(), max_tokens=body.limit(0) or None, params=params)
        self._body = body
        self._happened: asyncio.Queue[Event | None] = asyncio.Queue()
        self._first: Event | None = None
        self._shown: list[Citation] = []
        self._done: Done | None = None
        self._name, self._created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())

    async def read(self) -> None:
        """Take what happens as it comes, however slowly a client reads."""
        try:
            async with aclosing(self._answers) as answers:
                async for one in answers:
                    if isinstance(one, Sources):
                        self._shown = [citation_of(hit) for hit in one.hits[: one.packed]]
                    elif isinstance(one, Done):
                        self._done = one
                    self._happened.put_nowait(one)
        finally:
            self._happened.put_nowait(None)

    async def begun(self, work: asyncio.Task[None]) -> None:
        """Wait for something to happen, so that what cannot be done is an error and no stream."""
        try:
            self._first = await self._happened.get()
        except BaseException:
            work.cancel()
            raise
        if self._first is None:
            work.result()

    def whole(self) -> dict[str, Any]:
        """Everything at once."""
        done = self._finished
        message = {"role": "assistant", "content": done.answer + _places(done), **self._facts()}
        choice = {"index": 0, "message": message, "finish_reason": done.finish_reason, "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(done)}

    async def events(self, work: asyncio.Task[None]) -> AsyncIterator[str]:
        """Server-sent events to the end; closing the iterator ends the work."""
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            happened = self._first
            while happened is not None:
                if isinstance(happened, Text):
                    yield self._chunk({"content": happened.text})
                happened = await self._happened.get()
            work.result()
            done = self._finished
            if places := _places(done):
                yield self._chunk({"content": places})
            yield self._chunk(self._facts(), done.finish_reason)
            if self._body.stream_options is not None and self._body.stream_options.include_usage:
                yield event({**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(done)})
            yield DONE
        finally:
            work.cancel()

    @property
    def _finished(self) -> Done:
        assert self._done is not None
        return self._done

    def _facts(self) -> dict[str, Any]:
        done = self._finished
        return {"citations": list(done.citations), "sources": self._shown, "found": done.found}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._name, "object": kind, "created": self._created, "model": self._body.model}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})


def _refuse(body: ChatRequest) -> None:
    """What makes no sense for an answer from the index."""
    asked = refused(body.model_extra or {})
    odd = {
        "n": body.n > 1,
        "tools": bool(body.tools),
        "response_format": (body.response_format or {"type": "text"}) != {"type": "text"},
        "logprobs": body.logprobs,
        "stop": bool(body.stops),
        "return_token_ids": body.return_token_ids,
    }
    if asked := [*asked, *(name for name, given in odd.items() if given)]:
        raise ApiError(400, f"{body.model!r} does not take {', '.join(asked)}", "unsupported_parameter")


def _places(done: Done) -> str:
    """The cited places as lines behind the answer."""
    lines = [f"[{n}] {c['path']}:{c['start']}-{c['end']}" for n, c in enumerate(done.citations, 1)]
    return "\n\n" + "\n".join(lines) if lines else ""


def _usage(done: Done) -> dict[str, int]:
    prompt, written = done.prompt_tokens, done.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
