"""What the lab tells, on a terminal: one moving line there, plain lines elsewhere."""

import sys
import time

from iikata.lab.events import Event, Progress, Stage, Warned

PLAIN_SECONDS = 10.0
"""Between two progress lines where there is no terminal."""
TERMINAL_SECONDS = 0.1


class Console:
    """Prints to stderr, so that stdout holds results alone."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._start = self._shown = time.monotonic()
        self._open = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
            return
        if isinstance(event, Stage):
            self._start = self._shown = time.monotonic()
            self._line(f"{event.name}: {event.todo} {event.what}" + ("" if event.todo else " to do, all there"))
        if isinstance(event, Warned):
            self._line(f"warning: {event.message}")

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        last = event.done >= event.todo
        if now - self._shown < (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS) and not last:
            return
        self._shown = now
        elapsed = now - self._start
        left = elapsed / max(1, event.done) * (event.todo - event.done)
        text = f"{event.stage}: {event.done}/{event.todo}  {clock(elapsed)}, about {clock(left)} left  {event.note}"
        if not self._terminal:
            self._line(text)
            return
        print(f"\r\x1b[K{text[:110]}", end="\n" if last else "", file=sys.stderr, flush=True)
        self._open = not last

    def _line(self, text: str) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False
        print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
