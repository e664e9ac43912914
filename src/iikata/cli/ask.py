"""`iikata ask`: every cell's answers in the terminal while they are written."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iikata.cli.terminal import bare
from iikata.core.errors import IikataError
from iikata.core.files import read_text
from iikata.core.io import parse_user_json
from iikata.core.records import Before
from iikata.core.text import safe_text

MOST_BYTES = 10_000_000
"""Of a file of messages."""
COLUMN = 26
"""Characters below which an answer is hard to read next to others."""
PER_SECOND = 12
"""Paintings of the columns; a thread does them."""


def ask(given: argparse.Namespace) -> None:
    """Load, ask, and show the answers side by side where they fit, else one below the other."""
    from rich.console import Console

    from iikata.pipeline.ask import respondents

    if given.samples < 1:
        raise IikataError(f"--samples {given.samples}: 1 or more is allowed.")
    question, before = (given.question, given.input, given.samples), _before(given.system, given.history)
    asked = respondents(given.run, given.set, given.arm, given.template)
    console, cells = Console(file=bare(sys.stdout), highlight=False), asked.cells()
    if console.is_terminal and len(cells) * COLUMN <= console.width:
        with AnswerColumns(console, cells, given.samples) as columns:
            asked.ask(*question, columns.emit, before)
    else:
        asked.ask(*question, Lines(cells, given.samples).emit, before)


def _before(system: str, history: str | None) -> Before:
    """Return what was said before the question; raises IikataError where the file does not say it."""
    if history is None:
        return Before(system)
    from iikata.data import open_conversation

    fix = 'It holds a list of messages: [{"role": "user", "content": ...}, {"role": "assistant", ...}].'
    said = parse_user_json(read_text(Path(history), MOST_BYTES), history, fix)
    if not isinstance(said, list):
        raise IikataError(f"{history}: no list of messages. {fix}")
    before, _ = open_conversation([*said, {"role": "user", "content": "?"}], history)
    return Before(system or before.system, before.turns)


class Lines:
    """One answer below the other: the first that is not finished is written as it comes, the others wait."""

    def __init__(self, cells: Sequence[str], samples: int) -> None:
        self._waiting = [(cell, sample) for cell in cells for sample in range(samples)]
        self._said: dict[tuple[str, int], tuple[str, str]] = {}
        self._written: str | None = None
        self._samples = samples

    def emit(self, key: tuple[str, int], text: str, finish: str) -> None:
        self._said[key] = text, finish
        while self._waiting and self._waiting[0] in self._said:
            key = self._waiting[0]
            text, finish = self._said[key]
            shown = safe_text(text)
            if self._written is None:
                self._written = ""
                print(f"--- {key[0]}" + (f" ({key[1] + 1})" if self._samples > 1 else ""))
            print(shown[len(self._written) :], end=_ending(finish), flush=True)
            self._written = shown
            if not finish:
                return
            self._waiting.pop(0)
            self._written = None


def _ending(finish: str) -> str:
    return {"": "", "stop": "\n\n", "length": " […]\n\n"}[finish]


class AnswerColumns:
    """A column a cell, repainted a few times a second."""

    def __init__(self, console: Any, cells: Sequence[str], samples: int) -> None:
        from rich.live import Live

        self._cells, self._samples = cells, samples
        self._said: dict[tuple[str, int], tuple[str, str]] = {}
        self._live = Live(
            console=console, get_renderable=self._painted, refresh_per_second=PER_SECOND,
            redirect_stderr=False, redirect_stdout=False,
        )  # fmt: skip

    def __enter__(self) -> "AnswerColumns":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()  # paints a last time, all of it, however tall

    def emit(self, key: tuple[str, int], text: str, finish: str) -> None:
        self._said[key] = text, finish

    def _painted(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        # Text, never a string: rich would read markup out of a model's brackets.
        table = Table(expand=True, show_lines=True)
        for cell in self._cells:
            table.add_column(Text(safe_text(cell)), ratio=1, overflow="fold")
        for sample in range(self._samples):
            said = [self._said.get((cell, sample), ("", "")) for cell in self._cells]
            table.add_row(*(Text(safe_text(text) + _ending(finish).rstrip()) for text, finish in said))
        return table
