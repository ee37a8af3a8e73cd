"""An app on an address of this machine, until it is interrupted, and the token that its requests carry."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import uvicorn

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import read_text
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


SHORTEST = 16


def fresh_token() -> str:
    """A random one, for one start of a server."""
    return secrets.token_urlsafe(24)


def token_of(file: Path) -> str:
    """The token in a file; one that does not exist is made, readable by its owner only.

    Raises:
        UsageError: it cannot be read or made, or what it holds is too short to be a secret.
    """
    try:
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as made:
                made.write(fresh_token() + "\n")
        token = read_text(file).strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"the token file cannot be used: {error}", where=str(file), hint="name a file that you can read and write"
        ) from None
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"a token is one word of at least {SHORTEST} letters and digits",
            where=str(file),
            hint="delete the file, and the next start writes a random one into it",
        )
    return token
