"""A server on the loopback address while a test needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers what is asked; `server.stub` is what the test told it."""

    server: Any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: type[Handler], stub: Any) -> Iterator[str]:
    """Serve until the block ends; yields the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.stub, server.daemon_threads = stub, True  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
