"""The display of training on a terminal: one line an arm, and a last line for all of them."""

import atexit
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from iikata.cli.terminal import guard, numbers, one_line, sparkline
from iikata.pipeline.events import Stepped

BAR = 20
POINTS = 8
"""Of a held-out curve, the newest are shown."""
PER_SECOND = 2
"""Repaints, and one more for each new arm. A thread does them, so the clock goes on while a step takes long."""


class ArmsDisplay:
    """Lines painted in place until `close`; what is printed to stderr meanwhile comes above them."""

    def __init__(self, console: Console, curves: Mapping[str, Sequence[float]]) -> None:
        """Show arms on `console`, each with its curve on held-out rows, which goes on growing."""
        self._console, self._curves = console, curves
        self._arms: dict[str, tuple[int, Stepped]] = {}
        self._moves = 0
        self._summary: Callable[[], str] = str
        # stdout holds results alone and may be a file, so it is left as it is.
        self._live = Live(
            console=console, get_renderable=self.painted, refresh_per_second=PER_SECOND, redirect_stdout=False
        )
        self._live.start()
        if isinstance(sys.stderr, FileProxy):
            sys.stderr = guard(sys.stderr)
        console.show_cursor()  # a program that is killed could not bring it back
        atexit.register(self.close)

    def close(self) -> None:
        """Paint a last time and leave the cursor below."""
        atexit.unregister(self.close)
        self._live.stop()

    def emit(self, event: Stepped, summary: Callable[[], str]) -> None:
        """Show an arm's step; `summary` returns the last line at the time of painting."""
        new = event.step.arm not in self._arms
        self._moves += 1
        self._arms[event.step.arm] = self._moves, event
        self._summary = summary
        if new:
            self._live.refresh()

    def painted(self) -> Group:
        """Return the lines as they are now; where not all arms fit the terminal, those that moved last."""
        arms = list(self._arms.values())  # at once, for another thread may be telling
        room = max(1, self._console.height - 2)
        last = set(sorted(moved for moved, _ in arms)[-room:])
        # Where it is narrow, the bar shrinks first and the numbers last.
        name, bar = Column(no_wrap=True, max_width=self._console.width * 3 // 8), Column()
        several = any(event.device for _, event in arms)
        count = 4 + several + bool(self._curves)
        others = (Column(justify="right", no_wrap=True) for _ in range(count))
        table = Table.grid(name, bar, *others, padding=(0, 1))
        for moved, event in arms:
            if moved in last:
                curve = [self._curve(event.step.arm)] if self._curves else []
                table.add_row(*_cells(event), *curve)
        hidden = f"  ({room} of {len(arms)} arms shown)" if len(arms) > room else ""
        return Group(table, Text(self._summary() + hidden, no_wrap=True, overflow="ellipsis"))

    def _curve(self, arm: str) -> Text:
        values = self._curves.get(arm, ())
        bars = "" if self._console.options.ascii_only else sparkline(values[-POINTS:])
        return Text(f"held out {values[-1]:.3f} {bars}".rstrip() if values else "")


def _cells(event: Stepped) -> tuple[Text | ProgressBar, ...]:
    # Text, never a string: rich would read markup out of a name's brackets.
    step = event.step
    name = Text(one_line(step.arm), no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(event.steps, step.step, width=BAR, finished_style="green")
    where = [Text(f"{one_line(event.device)} {event.of_device:,.0f}/s")] if event.device else []
    return name, bar, Text(f"{step.step}/{event.steps}"), *map(Text, numbers(step)), *where
