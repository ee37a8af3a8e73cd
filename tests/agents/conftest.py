import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest


class ScriptedServer(ThreadingHTTPServer):
    """A chat-completions server that says what it is told, in order, and remembers what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = []
        self.requests = []
        self.paths = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def client(self, **options):
        return openai.AsyncOpenAI(base_url=self.url, api_key="none", max_retries=0, **options)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.requests.append(json.loads(body))
        reply = self.server.replies.pop(0)
        if isinstance(reply, int):
            self.answer(reply, {"error": {"message": "no such model"}})
            return
        choices = []
        if reply is not None:
            said = reply if isinstance(reply, dict) else {"content": reply}
            choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **said}}]
        self.answer(200, {"id": "c", "object": "chat.completion", "created": 0, "model": "policy", "choices": choices})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
