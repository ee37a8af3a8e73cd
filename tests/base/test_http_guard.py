"""Nothing is read or computed for a caller without the key; a body is bounded, whole and JSON."""

import asyncio
import json
import socket
import time
from http.client import HTTPConnection

import pytest
from tests.servers import listening

from homeground.base import http_guard
from homeground.base.http_guard import HttpGuard, bearer

KEY = "a-key-for-tests-only"
GOOD = (b"authorization", f"Bearer {KEY}".encode())


def refusal(path, status, message, code):
    return {"path": path, "status": status, "error": message, "code": code}


class Echo:
    """An app that answers with what reaches it."""

    def __init__(self):
        self.calls = 0

    async def __call__(self, scope, receive, send):
        self.calls += 1
        message = await receive() if scope["method"] == "POST" else {"body": b""}
        types = [value.decode() for name, value in scope["headers"] if name == b"content-type"]
        told = {"path": scope["path"], "body": message["body"].decode(), "types": types}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})


class Sender:
    """A client that sends a body in pieces; `read` counts those that were taken."""

    def __init__(self, *pieces, pause=0.0, gone=False):
        self.pieces, self.pause, self.gone, self.read = list(pieces), pause, gone, 0

    async def __call__(self):
        self.read += 1
        await asyncio.sleep(self.pause)
        if not self.pieces:
            assert self.gone, "more was read than there is"
            return {"type": "http.disconnect"}
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or self.gone}


def asked(sender, *headers, path="/v1/x", method="POST", app=None, length="said", **options):
    """Status, document and headers of one request."""
    sent = []
    if length == "said":
        length = str(sum(map(len, sender.pieces)))
    how = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", length.encode())
    scope = {"type": "http", "method": method, "path": path, "raw_path": b"", "headers": [how, *headers]}

    async def send(message):
        if not sent:
            sender.read_before = sender.read
        sent.append(message)

    guard = HttpGuard(app or Echo(), KEY, refusal, **options)
    asyncio.run(guard(scope, sender, send))
    if not sent:
        return None, None, {}
    return sent[0]["status"], json.loads(sent[1]["body"]), dict(sent[0]["headers"])


@pytest.mark.parametrize("header", [
    None, b"", b"Bearer", b"Bearer ", b"Bearer wrong", f"Basic {KEY}".encode(), KEY.encode(), b"Bearer \xff\xfe",
    f"Bearer {KEY}x".encode(), f"Bearer {KEY[:-1]}".encode(), f"Bearer{KEY}".encode(), b"Bearer " + b"x" * 60_000,
])  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/x", "/", "/made/up", "/open/../v1/x", "/%2e%2e", "/open"])
def test_without_the_key_no_byte_of_a_body_is_read(header, path):
    app, sender = Echo(), Sender(b"[]," * 100)
    headers = [] if header is None else [(b"authorization", header)]
    status, document, given = asked(sender, *headers, path=path, app=app, length=str(90 * 2**20))
    assert (status, document["code"]) == (401, "invalid_api_key")
    assert "Authorization: Bearer" in document["error"]
    assert (sender.read_before, app.calls) == (0, 0)
    assert given[b"www-authenticate"] == b"Bearer"
    assert given[b"connection"] == b"close", "the rest would be received for nothing"


def test_what_still_comes_of_a_refused_body_is_thrown_away_for_a_while(monkeypatch):
    monkeypatch.setattr(http_guard, "LINGER_S", 0.1)
    sender = Sender(*[b"x"] * 1000, pause=0.01)
    assert asked(sender, length=None)[0] == 401
    assert 2 < sender.read < 100


def test_two_keys_are_none():
    assert asked(Sender(b"{}"), GOOD, (b"authorization", b"Bearer wrong"))[0] == 401


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR  ", " Bearer "])
def test_the_scheme_may_be_in_any_case(scheme):
    assert asked(Sender(b"{}"), (b"authorization", f"{scheme}{KEY}".encode()))[0] == 200
    assert bearer(f"{scheme}{KEY}") == KEY.encode()


def test_the_key_in_the_path_is_taken_out_of_it():
    status, document, _ = asked(Sender(b"{}"), path=f"/{KEY}/v1/x")
    assert (status, document["path"]) == (200, "/v1/x")


@pytest.mark.parametrize("path", ["/wrong/v1/x", f"/{KEY}/page/x", f"/{KEY}", f"/v1/{KEY}/v1/x", f"/{KEY}x/v1/x"])
def test_another_key_in_the_path_or_in_another_place_is_refused(path):
    assert asked(Sender(b"{}"), path=path)[0] == 401


def test_a_wrong_key_in_the_path_is_refused_beside_a_right_one():
    assert asked(Sender(b"{}"), GOOD, path="/wrong/v1/x")[0] == 401


@pytest.mark.parametrize(("path", "status"), [
    ("/healthz", 200), ("/files/x.js", 200), ("/files", 401), ("/healthz/x", 401), ("/wrong/v1/healthz", 401),
])  # fmt: skip
def test_open_paths_need_no_key(path, status):
    assert asked(Sender(), path=path, method="GET", open_paths=("/healthz", "/files/"))[0] == status


def test_open_paths_read_no_body_of_a_caller_without_the_key():
    sender = Sender(b"[" * 1000)
    status, document, _ = asked(sender, path="/healthz", open_paths=("/healthz",), length=str(90 * 2**20))
    assert (status, document["body"], sender.read) == (200, "", 0)


def test_what_is_no_http_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(HttpGuard(Echo(), KEY, refusal)({"type": "websocket", "path": "/v1/x", "headers": [GOOD]}, None, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_body_that_says_it_is_too_large_is_not_read():
    sender = Sender(b"[]")
    status, document, given = asked(sender, GOOD, length=str(http_guard.MOST_BODY + 1))
    assert (status, sender.read_before) == (413, 0)
    assert str(http_guard.MOST_BODY) in document["error"]
    assert given[b"connection"] == b"close"


@pytest.mark.parametrize("length", [None, "10", "0" * 30, "-5", "many"])
def test_a_body_that_is_larger_than_it_says_is_cut_off(length, monkeypatch):
    monkeypatch.setattr(http_guard, "MOST_BODY", 1000)
    sender = Sender(*[b"x" * 400] * 50)
    assert asked(sender, GOOD, length=length)[0] == 413
    assert sender.read_before <= 3


def test_a_slow_body_is_given_up(monkeypatch):
    monkeypatch.setattr(http_guard, "BODY_S", 0.05)
    status, document, _ = asked(Sender(*[b" "] * 100, pause=0.02), GOOD)
    assert status == 408
    assert "did not arrive" in document["error"]


def test_a_client_that_leaves_in_the_middle_is_answered_nothing():
    app = Echo()
    assert asked(Sender(b"{", gone=True), GOOD, app=app, length="10")[0] is None
    assert app.calls == 0


@pytest.mark.parametrize("body", [
    b"{", b"\xff\xfe", b'"\xe9"', '"é"'.encode("utf-16"), b'"\\ud800"', b"NaN", b'{"a": Infinity}', b"a=1&b=2",
    b"[" * 300 + b"]" * 300, b'{"a":' * 100_000, b"[" * 16_000_000, b"{}{}", b"\0", b"'a'",
], ids=lambda body: repr(body[:12]))  # fmt: skip
def test_what_is_no_json_or_too_deep_is_400(body):
    app = Echo()
    status, document, _ = asked(Sender(body), GOOD, app=app)
    assert (status, app.calls) == (400, 0)
    assert document["error"].startswith("the body is not JSON: ")
    assert len(document["error"]) < 200


@pytest.mark.parametrize("body", [b'{"a": 1}', b"\xef\xbb\xbf[]", '"é"'.encode(), b"[" * 150 + b"]" * 150])
@pytest.mark.parametrize("kind", [None, b"application/x-www-form-urlencoded", b"text/plain", b"application/json"])
def test_json_is_read_whatever_it_is_called(body, kind):
    headers = [GOOD] if kind is None else [GOOD, (b"content-type", kind)]
    status, document, _ = asked(Sender(body[:3], body[3:]), *headers)
    assert status == 200
    assert document["body"] == body.removeprefix(b"\xef\xbb\xbf").decode()
    assert document["types"] == ["application/json"]


def test_more_posts_than_may_wait_are_refused_and_streams_do_not_count():
    held, statuses = asyncio.Event(), []

    async def slow(scope, receive, send):
        if scope["method"] == "POST":
            await held.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        statuses.append(message.get("status"))

    async def session():
        guard = HttpGuard(slow, KEY, refusal, waiting=2)
        scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": [GOOD]}
        first = [asyncio.create_task(guard(scope, Sender(), send)) for _ in range(2)]
        await asyncio.sleep(0)
        await guard(scope, Sender(), send)
        await guard({**scope, "method": "GET"}, Sender(), send)
        held.set()
        await asyncio.gather(*first)
        await guard(scope, Sender(), send)

    asyncio.run(session())
    assert [status for status in statuses if status] == [429, 200, 200, 200, 200]


@pytest.fixture
def guarded():
    app = Echo()
    with listening(HttpGuard(app, KEY, refusal)) as root:
        host, port = root.removeprefix("http://").split(":")
        yield (host, int(port)), app


def test_a_client_that_sends_90_mb_before_it_reads_is_answered(guarded):
    address, app = guarded
    for key, status in (("x", 401), (KEY, 413)):
        for chunked in (False, True):
            client = HTTPConnection(*address, timeout=20)
            headers = {"Authorization": f"Bearer {key}"} | ({"Transfer-Encoding": "chunked"} if chunked else {})
            body = b"[]," * 10_000_000
            client.request("POST", "/v1/x", iter([body] * 3) if chunked else body * 3, headers, encode_chunked=chunked)
            assert client.getresponse().status == status
            client.close()
    assert app.calls == 0


@pytest.mark.parametrize("head", [
    b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[[[[\r\n",
    b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 94371840\r\n\r\n[],[],[],",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%00%ff%ed%a0%80/v1/x HTTP/1.1\r\nHost: x\r\n\r\n",
])  # fmt: skip
def test_over_a_socket_a_caller_without_the_key_is_answered_at_once(guarded, head):
    address, app = guarded
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(head)
        said = client.recv(65536)
    assert said.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
    assert app.calls == 0


def send_often(client, piece):
    for _ in range(500):
        client.sendall(piece)


@pytest.mark.parametrize(("head", "more"), [
    (b"POST /v1/x HTTP/1.1\r\nX: ", b"a" * 65536),
    (b"POST /v1/x HTTP/1.1\r\n", b"X-A: b\r\n" * 8192),
    (b"GET /", b"a" * 65536),
    (b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"a" * 65536),
    (b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n0\r\n", b"X-A: b\r\n" * 8192),
])  # fmt: skip
def test_heads_and_trailers_without_an_end_are_cut_off(guarded, head, more):
    address, app = guarded
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(head)
        # Far more than what the sockets' own buffers hold.
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_often(client, more)
    assert app.calls == 0


@pytest.mark.parametrize("before", [
    b"", b"GET /v1/x HTTP/1.1\r\n", b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/x HT",
])  # fmt: skip
def test_who_dawdles_with_a_head_or_the_rest_of_a_refused_body_is_cut_off(guarded, before, monkeypatch):
    monkeypatch.setattr(http_guard, "HEAD_S", 0.3)
    address, _ = guarded
    with socket.create_connection(address, timeout=0.05) as client:
        client.sendall(before)
        began, ended = time.monotonic(), False
        while not ended and time.monotonic() < began + 4:
            try:
                ended = client.recv(65536) == b""
                if before:
                    client.sendall(b"a")
            except TimeoutError:
                client.sendall(b"a" if before else b"")
            except ConnectionError:
                ended = True
        assert ended
