"""The search of an index for agents in other processes: one GET on loopback, behind a random key.

``GET URL?q=WORDS&k=5`` with ``Authorization: Bearer KEY`` answers ``{"query", "hits": [...]}``, each hit as
``homeground search --json`` prints it.
"""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

from homeground.agents.lookup import SearchTool
from homeground.base.errors import HomegroundError
from homeground.base.http_guard import WRONG_KEY, bearer, same_key

MOST_HITS = 50
MOST_QUERY = 2000
SLOWEST_S = 30.0
"""Close a connection after this time without a byte of a request."""
URL, KEY = "HOMEGROUND_SEARCH_URL", "HOMEGROUND_SEARCH_KEY"


class SearchServer:
    """Serves a search while the context is open.

    Args:
        search: a query and how many hits are wanted, in; hits out. Called from several threads.
    """

    def __init__(self, search: SearchTool) -> None:
        self.key = secrets.token_urlsafe(24)
        self._server = _Server(search, self.key)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="homeground-search")

    @property
    def environment(self) -> dict[str, str]:
        """Where an agent finds it."""
        host, port = self._server.server_address[:2]
        return {URL: f"http://{host!s}:{port}/search", KEY: self.key}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, search: SearchTool, key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.search = search
        self.key = key


class _Handler(BaseHTTPRequestHandler):
    timeout = SLOWEST_S

    def do_GET(self) -> None:
        server = cast(_Server, self.server)
        if not same_key(bearer(self.headers.get("Authorization", "")), server.key.encode()):
            self._answer(401, {"error": WRONG_KEY})
            return
        address = urlsplit(self.path)
        asked = parse_qs(address.query)
        query, k = asked.get("q", [""])[0][:MOST_QUERY], asked.get("k", ["5"])[0]
        if address.path != "/search" or not k.isdecimal() or len(k) > 2 or not 1 <= int(k) <= MOST_HITS:
            self._answer(400, {"error": f"ask for /search?q=WORDS&k=N with N from 1 to {MOST_HITS}"})
            return
        try:
            hits = server.search(query, int(k)) if query.strip() else []
        except HomegroundError as error:
            self._answer(400, {"error": error.message})
            return
        self._answer(200, {"query": query, "hits": [hit.to_json() for hit in hits]})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Say nothing: standard error belongs to the progress."""
