"""An app on 127.0.0.1, until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import uvicorn

from homeground.base.errors import HomegroundError

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve_forever(
    app: ASGIApp, port: int, announce: Callable[[str], None], lifespan: Literal["on", "off"] = "off"
) -> None:
    """Serve on 127.0.0.1 until interrupted; answers that run are finished first.

    Args:
        app: any ASGI app.
        port: 0 takes a free one.
        lifespan: whether the app has something to start and stop.
        announce: gets ``http://127.0.0.1:PORT`` once requests are accepted.

    Raises:
        HomegroundError: the port is taken.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise HomegroundError(
            f"port {port} cannot be used: {error.strerror}", where="127.0.0.1", hint="name another one with --port"
        ) from error

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce(f"http://127.0.0.1:{listener.getsockname()[1]}")

    with listener:
        Announced(uvicorn.Config(app, log_level="warning", lifespan=lifespan)).run(sockets=[listener])
