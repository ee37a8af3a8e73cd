"""Questions that the page asks: the events of an answer, as they come, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field

from homeground.base.errors import HomegroundError, UsageError
from homeground.rollouts.requests import Fields

if TYPE_CHECKING:
    from homeground.agents.answering import Answerer
    from homeground.agents.events import Event

MOST_MESSAGES = 200
MOST_CHARACTERS = 200_000


class Said(Fields):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["user", "assistant"]
    content: str = Field(max_length=MOST_CHARACTERS)


class Asked(Fields):
    """A conversation whose last message wants an answer."""

    model_config = ConfigDict(extra="forbid")
    messages: list[Said] = Field(min_length=1, max_length=MOST_MESSAGES)
    model: str | None = None
    agentic: bool = False


def ask_routes(models: Mapping[str, Answerer], place: Callable[..., Any]) -> APIRouter:
    """`GET /models` and `POST /ask`.

    Args:
        models: by name; the first is asked where none is named.
        place: a dependency that an answer holds until its stream ends; refuses where too many run.
    """
    router = APIRouter()

    @router.get("/models")
    async def listed() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Who can be asked."""
        return {"models": [{"name": name, "agentic": one.agentic} for name, one in models.items()]}

    @router.post("/ask", response_class=StreamingResponse, dependencies=[Depends(place)])
    async def ask(asked: Asked) -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """Answer a conversation: `data: {"event": ...}` for each event, as it comes."""
        model = _named(models, asked.model)
        messages = [{"role": one.role, "content": one.content} for one in asked.messages]
        events = model.stream(messages, agentic=asked.agentic)
        # What is wrong with the question is known before the first event, and is an error of the request.
        first = await anext(events)
        return StreamingResponse(_told(first, events), media_type="text/event-stream")

    return router


def _named(models: Mapping[str, Answerer], name: str | None) -> Answerer:
    if not models:
        raise UsageError("no model is served", where="model", hint="train one, then start homeground serve again")
    if name is not None and name not in models:
        raise UsageError(f"no model is called {name!r:.100}", where="model", hint=f"there are: {', '.join(models)}")
    return next(iter(models.values())) if name is None else models[name]


async def _told(first: Event, rest: AsyncGenerator[Event]) -> AsyncGenerator[str]:
    """Every event as a block of the stream; a reader who leaves ends the sampling, an error becomes the last event."""
    try:
        yield _block(first.to_json())
        async for event in rest:
            yield _block(event.to_json())
    except HomegroundError as error:
        yield _block({"event": "error", **error.to_json()})
    finally:
        await rest.aclose()


def _block(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False, allow_nan=False)}\n\n"
