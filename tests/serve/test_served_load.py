"""`make bench-serve` at reduced size: the same clients, against tiny models."""

import asyncio

import psutil

from benchmarks.serve import rows_of, summary
from benchmarks.sides.clients import CLIENTS, Load, press

from .serving import TOKEN

MOST_MB = 60
"""Growth of the process that holds the server, its clients and what they note."""


def test_many_clients_of_every_kind_are_served_without_an_error_and_in_level_memory(server):
    words = [f"bread{number}" for number in range(50)]
    names = ["one", "two", "base"]
    load = Load(
        server.root, TOKEN, names, ["base+index"], words, prompt_words=(2, 60), answer_tokens=(4, 48), seconds=4.0
    )  # fmt: skip
    process = psutil.Process()
    told = asyncio.run(press(load, lambda: process.memory_info().rss / 1e6))
    assert not told.errors
    measured = {"minutes": 0.1, "clients": CLIENTS, **summary(told)}
    assert measured["requests"] > 2 * CLIENTS
    assert {"stream", "whole", "text", "slow", "indexed", "search", "embed", "rerank"} <= measured["seconds"].keys()
    assert told.left > 0
    assert told.tokens > 0
    memory = measured["memory_mb"]
    assert memory["end"] - memory["settled"] < MOST_MB
    assert {row["metric"] for row in rows_of(measured)} >= {"errors", "memory growth", "tokens", "stream p95"}
