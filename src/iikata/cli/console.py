"""What a run tells, on a terminal: a line an arm in training, else one moving line; plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from iikata.cli.terminal import bare, clock, numbers, one_line
from iikata.core.text import safe_text
from iikata.pipeline.events import Evaluated, Event, Progress, Stage, Stepped, Told, Warned

if TYPE_CHECKING:
    from rich.console import Console as Rich

    from iikata.cli.arms_display import ArmsDisplay

PLAIN_SECONDS = 10.0
"""Between two progress lines where there is no terminal."""
TERMINAL_SECONDS = 0.1


class Console:
    """Prints to stderr, so that stdout holds results alone."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._terminal = sys.stderr.isatty() and _rich().is_interactive  # an editor's shell may move no cursor
        self._start = self._shown = now()
        self._open = False
        self._arms: dict[str, Stepped] = {}
        """The newest step of each arm of this stage."""
        self._curves: dict[str, list[float]] = {}
        """What each of these arms came to on held-out rows."""
        self._stepped: Stepped | None = None
        """The step that the next Progress counts."""
        self._display: ArmsDisplay | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Stepped):
            self._arms[event.step.arm] = self._stepped = event
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        elif isinstance(event, Stage):
            self._close()
            self._arms, self._curves, self._stepped = {}, {}, None
            self._start = self._shown = self._now()
            self._line(f"{event.name}: {event.todo} {event.what}" + ("" if event.todo else " to do, all there"))
        elif isinstance(event, Warned):
            self._line(f"warning: {safe_text(event.message)}")
        elif isinstance(event, Told):
            self._line(safe_text(event.message))

    def _evaluated(self, event: Evaluated) -> None:
        found = event.evaluation
        self._curves.setdefault(found.arm, []).append(found.value)
        if not self._terminal:
            self._line(
                f"train: {one_line(found.cell)} {found.step}/{event.steps} held-out {found.metric} {found.value:.4f}"
            )

    def _progress(self, event: Progress) -> None:
        stepped, self._stepped = self._stepped, None
        # Where arms step together, the first that tells counts the steps of all.
        last = event.done >= event.todo and all(arm.step.step >= arm.steps for arm in self._arms.values())
        if stepped is None:
            self._write(event, lambda: one_line(event.note), last)
            return
        if not self._terminal:
            self._write(event, partial(_of_step, stepped), last)
            return
        if self._display is None:
            from iikata.cli.arms_display import ArmsDisplay

            self._display = ArmsDisplay(_rich(), self._curves)
        self._display.emit(stepped, partial(self._text, event, _speed(stepped)))
        if last:
            self._close()

    def _write(self, event: Progress, note: Callable[[], str], last: bool) -> None:
        # Most of a hundred thousand answers are not told: what would be said of one is made only if it is.
        now = self._now()
        if now - self._shown < (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS) and not last:
            return
        self._shown = now
        text = self._text(event, note())
        if not self._terminal:
            self._line(text)
            return
        # What a line too long has wrapped would stay when the next is painted.
        shown = _fitting(text, _rich().width - 1)
        print(f"\r\x1b[K{shown}", end="\n" if last else "", file=bare(sys.stderr), flush=True)
        self._open = not last

    def _text(self, event: Progress, note: str) -> str:
        elapsed = self._now() - self._start
        done, todo = event.done - event.before, event.todo - event.before
        # Answers and cells side by side end together: the first of them say nothing of the rate.
        known = event.stage == "train" or 5 * done >= todo
        seconds = elapsed / max(1, done) * (todo - done) if event.left is None else event.left
        left = f", about {clock(seconds)} left" if known else ""
        return f"{event.stage}: {event.done}/{event.todo}  {clock(elapsed)}{left}  {note}"

    def _line(self, text: str) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False
        # While the display is open, sys.stderr puts lines above it.
        print(text, file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None


def _speed(stepped: Stepped) -> str:
    return f"{stepped.tokens_per_second:,.0f} tokens/s"


def _of_step(stepped: Stepped) -> str:
    step, device = stepped.step, ""
    if stepped.device:
        device = f" ({one_line(stepped.device)}: {stepped.of_device:,.0f})"
    return f"{one_line(step.arm)} {step.step}/{stepped.steps} {' '.join(numbers(step))}  {_speed(stepped)}{device}"


def _fitting(text: str, columns: int) -> str:
    from rich.text import Text

    line = Text(text)
    line.truncate(columns, overflow="crop")
    return line.plain


def _rich() -> "Rich":
    from rich.console import Console as Rich

    return Rich(file=bare(sys.stderr), stderr=True, highlight=False)
