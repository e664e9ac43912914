"""Start the page on this machine's own address and end it quietly."""

import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from iikata.core.errors import IikataError
from iikata.serve.run import ServedRun

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
"""Nobody else's machine may connect, and no flag changes it."""
MOST_CONNECTIONS = 64
"""At once, open streams of answers among them."""
MOST_HEAD_BYTES = 1 << 15
"""Of a request's first line and its headers."""


def serve(folders: Sequence[Path], port: int = 0, emit: Callable[[str], None] = print) -> None:
    """Serve the page of one or two run folders until Ctrl-C; `emit` is given its address. Port 0: any free one.

    Raises IikataError where a folder is no run, where the port is taken and where the page's packages are missing.
    """
    try:
        import uvicorn

        from iikata.serve.app import app
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
            raise
        raise IikataError(
            f"{missing.name} is not installed, and the page needs it: pip install 'iikata[page]'"
        ) from None
    from iikata.serve.question_queue import QuestionQueue

    class Server(uvicorn.Server):
        """Ends open answers when it is to stop, since it waits for them."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            queue.cancel_all()
            super().handle_exit(sig, frame)

    runs, token, queue = [ServedRun(folder) for folder in folders], secrets.token_urlsafe(24), QuestionQueue()
    server = Server(settings(app(runs, queue, token)))
    with listen(port) as listening:
        emit(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
        with suppress(KeyboardInterrupt):  # uvicorn raises it again once everything has ended
            server.run(sockets=[listening])


def settings(page: "ASGIApp") -> "uvicorn.Config":
    """Return how uvicorn is to serve the page: within limits, plain in its messages, silent about itself."""
    import uvicorn

    return uvicorn.Config(
        page,
        http="h11",  # it alone limits a request's head
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        use_colors=False,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )


def listen(port: int) -> socket.socket:
    """Return a socket that listens already, so that the address may be told before the first answer."""
    listening = socket.socket()
    # A page that was just ended leaves its port in TIME_WAIT, and may be started again on it.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise IikataError(
            f"--port {port}: {str(error).rstrip('.')}. Give another, or none for any that is free."
        ) from None
    listening.listen()
    return listening
