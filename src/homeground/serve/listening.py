"""An app on an address of this machine, until it is interrupted."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import uvicorn

from homeground.base.errors import HomegroundError
from homeground.base.http_guard import BoundedHttp

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


def serve_forever(
    app: ASGIApp,
    port: int,
    announce: Callable[[str], None],
    lifespan: Literal["on", "off"] = "off",
    *,
    host: str = LOOPBACK,
    grace_s: int | None = None,
) -> None:
    """Serve until interrupted; answers that run are finished first, a second interruption ends them.

    Args:
        app: any ASGI app.
        port: 0 takes a free one.
        announce: gets ``http://HOST:PORT`` once requests are accepted.
        lifespan: whether the app has something to start and stop.
        host: address or name to bind.
        grace_s: seconds after which running answers are ended after all; None waits for them.

    Raises:
        HomegroundError: the port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise HomegroundError(
            f"port {port} cannot be used: {error.strerror}", where=host, hint="name another one with --port"
        ) from error

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce(f"http://{_reachable(host)}:{listener.getsockname()[1]}")

    config = uvicorn.Config(
        app, http=BoundedHttp, log_level="warning", lifespan=lifespan, timeout_graceful_shutdown=grace_s
    )
    with listener:
        Announced(config).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on this address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(host: str) -> str:
    """The host in an address that a browser here can open."""
    if host in ("0.0.0.0", "::"):  # compared, not bound
        return LOOPBACK
    return f"[{host}]" if ":" in host else host
