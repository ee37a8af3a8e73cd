"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.core import Metric
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from homeground.rollouts import Sampler

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_TOKENS = {
    "sampled": "Tokens written by the model.",
    "prefilled": "Prompt tokens computed.",
    "reused": "Prompt tokens found in the cache.",
}


class Metrics:
    """Counts of one app.

    Args:
        engines: by the names of their models.
        waiting: tells how many answers run or wait.
    """

    def __init__(self, engines: Mapping[str, Sampler], waiting: Callable[[], int]) -> None:
        # When each series began would double their number, and nobody asks.
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "homeground_requests", "Requests by path and status.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "homeground_request_seconds", "From a request to the end of its answer.", ["path"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._first = Histogram(
            "homeground_first_byte_seconds", "From a request to the first of its answer.", ["path"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        Gauge("homeground_answers", "Answers that run or wait.", registry=self._registry).set_function(waiting)
        self._registry.register(_Tokens(engines))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of them, as `/metrics` tells them."""
        return generate_latest(self._registry)

    def count(self, path: str, status: int, first_s: float, whole_s: float) -> None:
        """Note one request that has ended."""
        self._requests.labels(path, str(status)).inc()
        self._first.labels(path).observe(first_s)
        self._seconds.labels(path).observe(whole_s)


class _Tokens:
    """Reads what the samplers have counted."""

    def __init__(self, engines: Mapping[str, Sampler]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        for kind, words in _TOKENS.items():
            family = CounterMetricFamily(f"homeground_{kind}_tokens", words, labels=["model"])
            for name, engine in self._engines.items():
                family.add_metric([name], getattr(engine, f"{kind}_tokens"))
            yield family


class Measured:
    """An app whose requests are counted, each by a path that is known, so that no client can make up labels.

    Args:
        app: any ASGI app.
        metrics: counts.
        paths: that are told apart.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, first, status = time.perf_counter(), 0.0, 500

        async def noted(message: Message) -> None:
            nonlocal first, status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not first:
                first = time.perf_counter() - began
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            whole = time.perf_counter() - began
            self._metrics.count(path, status, first or whole, whole)
