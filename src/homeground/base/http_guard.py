"""The guard in front of every HTTP app: check the key first, then require a JSON body of bounded size.

A request without the key is refused before its body is read; the rest of the body is discarded.
The guard is plain ASGI and outermost, so it covers every route. `BoundedHttp` bounds the head of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

import h11
from pydantic_core import from_json
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_BODY = 16 * 2**20
"""Largest body, in bytes: 2048 texts of 8 kB each for the embedder, or a conversation of four million tokens."""
BODY_S = 60.0
"""Time limit for receiving a body."""
WRONG_KEY = "missing or wrong key: send it as 'Authorization: Bearer KEY'"
LINGER_S = 2.0
"""Time for which the rest of a refused body is discarded, so that a client that sends it first gets the response."""
HEAD_S = 30.0
"""Time limit for receiving a request's head, or the rest of a body whose response has been sent."""
KEY_IN_PATH = "homeground.key_in_path"
"""Set in the scope of a request whose key was the first part of its path."""
_JSON = (b"content-type", b"application/json")

type _Scope = MutableMapping[str, Any]
type _Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type _Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type Refusal = Callable[[str, int, str, str | None], Mapping[str, Any]]
"""Builds the error document from the path, status, message and code of a refusal."""


class BoundedHttp(H11Protocol):
    """uvicorn's h11 protocol, which limits heads to 64 KiB, with a time limit. httptools has no size limit."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late is not None:
            self._late.cancel()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # the response has been sent
            self.transport.close()

    def _watch(self) -> None:
        head, rest = self.conn.their_state is h11.IDLE, self.conn.our_state is h11.DONE
        if not head and not rest:
            if self._late is not None:
                self._late.cancel()
            self._late = None
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)


class HttpGuard:
    """An ASGI app that forwards only requests with the key and a complete JSON body or none.

    The key is a bearer token or, for clients that can send no headers, the first part of a path below ``/KEY/v1``,
    which the app sees without it. Bodies are read as JSON whatever their content type (``curl -d`` names
    a form). JSON here is UTF-8, nested at most 200 deep, without NaN, infinities and halves of surrogate pairs.

    Args:
        app: any ASGI app.
        key: the key that requests must carry.
        refusal: builds the error documents.
        open_paths: paths that need no key; one that ends in a slash stands for all below it.
        waiting: POSTs that may be in progress at once; further ones get 429. None leaves counting to the app.
    """

    def __init__(
        self,
        app: Callable[[Any, Any, Any], Awaitable[None]],
        key: str,
        refusal: Refusal,
        open_paths: Collection[str] = (),
        waiting: int | None = None,
    ) -> None:
        self._app, self._key, self._refusal, self._waiting = app, key.encode(), refusal, waiting
        self._open = frozenset(open_paths)
        self._below = tuple(path for path in open_paths if path.endswith("/") and path != "/")
        self._held = 0

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        scope, key = _without_key(scope)
        try:
            if same_key(key, self._key):
                await self._pass(scope, await _body(scope, receive), receive, send)
            elif self._is_open(scope):
                await self._app(scope, _nothing, send)
            else:
                raise _RefusedError(401, WRONG_KEY, "invalid_api_key")
        except _RefusedError as error:
            await self._refuse(scope, error, receive, send)
        except _GoneError:
            return

    def _is_open(self, scope: _Scope) -> bool:
        path = scope["path"]
        return KEY_IN_PATH not in scope and (path in self._open or path.startswith(self._below))

    async def _pass(self, scope: _Scope, body: bytes | None, receive: _Receive, send: _Send) -> None:
        if body is not None:
            others = [one for one in scope["headers"] if one[0] not in (b"content-type", b"content-length")]
            length = (b"content-length", str(len(body)).encode())
            scope = {**scope, "headers": [*others, _JSON, length]}
        pending = body

        async def replayed() -> MutableMapping[str, Any]:
            nonlocal pending
            if pending is None:
                return await receive()
            whole, pending = pending, None
            return {"type": "http.request", "body": whole, "more_body": False}

        if self._waiting is None or scope["method"] != "POST":
            await self._app(scope, replayed, send)
            return
        if self._held >= self._waiting:
            raise _RefusedError(429, "too many requests are waiting", "rate_limit_exceeded")
        self._held += 1
        try:
            await self._app(scope, replayed, send)
        finally:
            self._held -= 1

    async def _refuse(self, scope: _Scope, error: _RefusedError, receive: _Receive, send: _Send) -> None:
        document = self._refusal(scope["path"], error.status, error.message, error.code)
        body = json.dumps(document).encode()
        headers: list[tuple[bytes, bytes]] = [_JSON, (b"content-length", str(len(body)).encode())]
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if error.status == 429:
            headers.append((b"retry-after", b"2"))
        length = _length(scope)
        more = error.status in (401, 413) and (length is None or length > MOST_BODY)
        if more or error.status == 408:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if more:
            await _throw_away(receive)
        await send({"type": "http.response.body", "body": b""})


def bearer(authorization: str | bytes) -> bytes:
    """The key in an ``Authorization`` header; empty if there is none. The scheme's case is ignored."""
    value = authorization.encode("latin-1", "replace") if isinstance(authorization, str) else authorization
    scheme, _, key = value.strip().partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


def same_key(given: bytes, wanted: bytes) -> bool:
    """Compare two keys in constant time."""
    return secrets.compare_digest(given, wanted)


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class _GoneError(Exception):
    """The client has closed the connection in the middle of its body."""


def _without_key(scope: _Scope) -> tuple[_Scope, bytes]:
    """The request's scope without the key in its path, and the key."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    first, _, rest = scope["path"].removeprefix("/").partition("/")
    if first == "v1" or not (rest == "v1" or rest.startswith("v1/")):
        return scope, bearer(given[0]) if len(given) == 1 else b""
    path = f"/{rest}"
    inner = {**scope, "path": path, "raw_path": path.encode("utf-8", "replace"), KEY_IN_PATH: True}
    return inner, first.encode("utf-8", "replace")


def _length(scope: _Scope) -> int | None:
    """The body's declared length in bytes; None for a chunked body."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    said = headers.get(b"content-length", b"0")
    return int(said) if said.isdigit() and len(said) < 20 else MOST_BODY + 1


async def _nothing() -> MutableMapping[str, Any]:
    """Receive an empty body, whatever the client sent: open paths read none."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def _throw_away(receive: _Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (await receive()).get("more_body"):
                pass


async def _body(scope: _Scope, receive: _Receive) -> bytes | None:
    """Read and check the body; None if there is none."""
    length = _length(scope)
    if length == 0:
        return None
    too_large = _RefusedError(413, f"the body has more than {MOST_BODY} bytes", "request_too_large")
    if length is not None and length > MOST_BODY:
        raise too_large
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise _GoneError
                read += message.get("body", b"")
                if len(read) > MOST_BODY:
                    raise too_large
                more = message.get("more_body", False)
    except TimeoutError:
        raise _RefusedError(408, f"the body did not arrive within {BODY_S:.0f} s") from None
    body = bytes(read).removeprefix(b"\xef\xbb\xbf")
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _RefusedError(400, f"the body is not JSON: {error}") from None
    return body
