"""Servers that tests start: an app in a thread, and the command in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn

from homeground.base.http_guard import BoundedHttp


@contextmanager
def listening(app: Any, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serve an ASGI app in a thread, on a free port; gives its address, `http://HOST:PORT`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http=BoundedHttp, log_level="warning", lifespan=lifespan))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"


@contextmanager
def command_server(*arguments: str, **options: Any) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """`homeground ARGUMENTS --port 0 --json`; gives what it announced, and the process."""
    command = [sys.executable, "-m", "homeground", *arguments, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline()), server
        finally:
            server.terminate()
            assert server.wait(timeout=30) == 130
