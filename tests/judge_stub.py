"""A stub of an OpenAI-compatible endpoint on this machine."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import loopback


class Stub:
    """Replies what `says(first answer, second answer)` returns; an int is an HTTP status. The longer answer wins."""

    def __init__(self) -> None:
        self.says: Callable[[str, str], str | int] = longer
        self.requests: list[dict] = []
        self.address = ""

    def url(self) -> str:
        return f"{self.address}/v1"


class Handler(loopback.Handler):
    def do_POST(self) -> None:  # noqa: N802 - the library's name
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.stub.requests.append({"path": self.path, "key": self.headers["Authorization"], **body})
        reply = self.server.stub.says(*compared(body))
        self.send_response(reply if isinstance(reply, int) else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": reply}}]}).encode())


@contextmanager
def serving() -> Iterator[Stub]:
    """Serve until the block ends."""
    stub = Stub()
    with loopback.serving(Handler, stub) as stub.address:
        yield stub


def compared(body: dict) -> tuple[str, str]:
    """Return the two answers that a request asks to be compared."""
    first, second = (body["messages"][0]["content"].split(f"[Answer {n}]\n")[1].split("\n\n")[0] for n in (1, 2))
    return first, second


def longer(first: str, second: str) -> str:
    return '{"winner": "1"}' if len(first) > len(second) else '{"winner": "2"}'


def always_first(first: str, second: str) -> str:
    return '{"winner": "1"}'
