"""What the lab tells, on a terminal: a line an arm in training, else one moving line; plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from iikata.lab.events import Event, Progress, Stage, Stepped, Warned
from iikata.records import TrainStep
from iikata.report.visible import visible

if TYPE_CHECKING:
    from iikata.cli.arms_display import ArmsDisplay

PLAIN_SECONDS = 10.0
"""Between two progress lines where there is no terminal."""
TERMINAL_SECONDS = 0.1


class Console:
    """Prints to stderr, so that stdout holds results alone."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._terminal = sys.stderr.isatty() and _can_move()
        self._start = self._shown = now()
        self._open = False
        self._arms: dict[str, Stepped] = {}
        """The newest step of each arm, the one told last at the end."""
        self._progressed = Progress("", 0, 0)
        self._display: ArmsDisplay | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Stepped):
            self._step(event)
        elif isinstance(event, Stage):
            self._close()
            self._arms = {}
            self._start = self._shown = self._now()
            self._line(f"{event.name}: {event.todo} {event.what}" + ("" if event.todo else " to do, all there"))
        elif isinstance(event, Warned):
            self._line(f"warning: {visible(event.message)}")

    def _step(self, event: Stepped) -> None:
        self._arms.pop(event.step.arm, None)
        self._arms[event.step.arm] = event
        if self._terminal:
            self._display = self._display or self._opened()
            self._display.tell(event)

    def _progress(self, event: Progress) -> None:
        self._progressed = event
        # Of arms that step together the first to tell counts the steps of all.
        last = event.done >= event.todo and all(arm.step.step >= arm.steps for arm in self._arms.values())
        if self._display is not None:
            if last:
                self._close()
            return
        now = self._now()
        if now - self._shown < (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS) and not last:
            return
        self._shown = now
        if not self._terminal:
            self._line(self._text(self._note()))
            return
        print(f"\r\x1b[K{self._text(self._note())[:110]}", end="\n" if last else "", file=sys.stderr, flush=True)
        self._open = not last
