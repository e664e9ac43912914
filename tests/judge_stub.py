"""A stub of an OpenAI-compatible endpoint on this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Stub(HTTPServer):
    """Replies what `says(first answer, second answer)` returns; an int is an HTTP status."""

    says: Callable[[str, str], str | int]
    requests: list[dict]

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path, "key": self.headers["Authorization"], **body})
        prompt = body["messages"][0]["content"]
        first, second = (prompt.split(f"[Answer {n}]\n")[1].split("\n\n")[0] for n in (1, 2))
        reply = self.server.says(first, second)
        self.send_response(reply if isinstance(reply, int) else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": reply}}]}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Stub]:
    """Serve until the block ends; the longer answer wins."""
    with Stub(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.says = longer
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def longer(first: str, second: str) -> str:
    return '{"winner": "1"}' if len(first) > len(second) else '{"winner": "2"}'


def always_first(first: str, second: str) -> str:
    return '{"winner": "1"}'
