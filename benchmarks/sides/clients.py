"""Clients of a server, all at once: chats of mixed lengths, searches, embeddings, slow readers and such as hang up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

CLIENTS = 32
SLOW, VANISHING = 2, 2
"""Of the clients: such as read a piece now and then, and such as hang up after the first."""
PAUSE_S = 0.2
TIMEOUT_S = 600.0
KINDS = {"stream": 35, "whole": 20, "text": 10, "indexed": 10, "search": 15, "embed": 6, "rerank": 4}


@dataclass(frozen=True)
class Load:
    """What is asked.

    Attributes:
        root: of the server.
        token: its.
        models: names of models that chat.
        indexed: names of those that answer from the index; may be empty.
        words: that questions are made of.
        prompt_words: of a question, least and most; lengths between them are spread evenly over their logarithm.
        answer_tokens: the same of what is asked for.
        seconds: no request begins later.
    """

    root: str
    token: str
    models: Sequence[str]
    indexed: Sequence[str]
    words: Sequence[str]
    prompt_words: tuple[int, int] = (5, 600)
    answer_tokens: tuple[int, int] = (8, 192)
    seconds: float = 60.0
    clients: int = CLIENTS
    seed: int = 0


@dataclass
class Told:
    """What the clients saw.

    Attributes:
        seconds: of each request that was read to its end, by kind.
        first_s: of each stream, until its first piece.
        tokens: written by the models, as the server counts them.
        errors: in words, with how often.
        left: how many were hung up on.
        memory_mb: of the server, once a second.
        took_s: from the first request to the last answer.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    first_s: list[float] = field(default_factory=list)
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    left: int = 0
    memory_mb: list[float] = field(default_factory=list)
    took_s: float = 0.0


class _HungUpError(Exception):
    """This client leaves on purpose."""


async def press(load: Load, memory_mb: Callable[[], float]) -> Told:
    """Let all clients ask until the time is over, and wait for their last answers."""
    told, began = Told(), time.perf_counter()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=load.clients)
    headers = {"Authorization": f"Bearer {load.token}"}
    async with httpx.AsyncClient(base_url=load.root, headers=headers, timeout=TIMEOUT_S, limits=limits) as http:
        before = await _sampled(http)
        end = asyncio.Event()
        watch = asyncio.create_task(_watch(told, memory_mb, end))
        deadline = time.perf_counter() + load.seconds
        await asyncio.gather(*(_client(load, http, number, deadline, told) for number in range(load.clients)))
        told.took_s = time.perf_counter() - began
        end.set()
        await watch
        told.tokens = await _sampled(http) - before
    return told


async def _watch(told: Told, memory_mb: Callable[[], float], end: asyncio.Event) -> None:
    while not end.is_set():
        told.memory_mb.append(memory_mb())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), 1.0)


async def _sampled(http: httpx.AsyncClient) -> int:
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("homeground_sampled_tokens_total{"))


async def _client(load: Load, http: httpx.AsyncClient, number: int, deadline: float, told: Told) -> None:
    chance = random.Random(f"{load.seed}:{number}")
    slow, leaves = number < SLOW, SLOW <= number < SLOW + VANISHING
    kinds = [kind for kind in KINDS if load.indexed or kind != "indexed"]
    while time.perf_counter() < deadline:
        kind = "stream" if slow or leaves else chance.choices(kinds, [KINDS[kind] for kind in kinds])[0]
        began = time.perf_counter()
        try:
            await _ask(load, http, kind, chance, told, slow=slow, leaves=leaves)
        except _HungUpError:
            told.left += 1
        except (httpx.HTTPError, ValueError, KeyError) as error:
            told.errors[f"{kind}: {type(error).__name__}: {str(error)[:200]}"] += 1
        else:
            told.seconds.setdefault("slow" if slow else kind, []).append(time.perf_counter() - began)


async def _ask(
    load: Load, http: httpx.AsyncClient, kind: str, chance: random.Random, told: Told, *, slow: bool, leaves: bool
) -> None:
    words = " ".join(chance.choices(load.words, k=_between(chance, *load.prompt_words)))
    asked: dict[str, Any] = {
        "max_tokens": _between(chance, *load.answer_tokens), "seed": chance.getrandbits(31), "temperature": 1.0,
        "model": chance.choice(load.indexed if kind == "indexed" else load.models),
    }  # fmt: skip
    chat = {**asked, "messages": [{"role": "user", "content": words}]}
    if kind in ("stream", "indexed"):
        await _read(http, chat, told, slow=slow, leaves=leaves)
        return
    answer = await {
        "whole": lambda: http.post("/v1/chat/completions", json=chat),
        "text": lambda: http.post("/v1/completions", json={**asked, "prompt": words}),
        "search": lambda: http.get("/search", params={"q": words[:200]}),
        "embed": lambda: http.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": words.split()[:16]}),
        "rerank": lambda: http.post("/v1/rerank", json={"query": words[:80], "documents": words.split()[:16]}),
    }[kind]()
    answer.raise_for_status()
    answer.json()


async def _read(http: httpx.AsyncClient, chat: dict[str, Any], told: Told, *, slow: bool, leaves: bool) -> None:
    """A stream to its end, or to where this client has had enough."""
    began, last, ended = time.perf_counter(), "", False
    async with http.stream("POST", "/v1/chat/completions", json={**chat, "stream": True}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: "):
                continue
            if not last:
                told.first_s.append(time.perf_counter() - began)
            ended = line == "data: [DONE]"
            last = last if ended else line
            if leaves:
                raise _HungUpError
            if slow:
                await asyncio.sleep(PAUSE_S)
    if not ended or json.loads(last.removeprefix("data: "))["choices"][0]["finish_reason"] is None:
        raise ValueError("the stream broke off")


def _between(chance: random.Random, least: int, most: int) -> int:
    return round(least * (most / least) ** chance.random())
