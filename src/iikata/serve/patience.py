"""How long the page waits for a client that sends or reads slowly, and how much of one it takes at all."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 15.0
"""For a whole request, from the connection or its first byte on; the page's own take milliseconds."""
STALLED_SECONDS = 60.0
"""For a client that reads nothing of what waits for it."""
MOST_HEAD_BYTES = 1 << 15
"""Of a request's first line and its headers."""
MOST_CONNECTIONS = 64
"""At once, open streams of answers among them."""


class Patience(H11Protocol):
    """Hangs up on a client that does not finish its request, or does not read, in time; uvicorn waits for ever."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._request: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._request, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _watch(self) -> None:
        """Wait for the rest of a request; more of it gives no more time."""
        open_ = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if open_ and self._request is None:
            self._request = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        elif not open_ and self._request is not None:
            self._request.cancel()
            self._request = None
