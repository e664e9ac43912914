"""The way to the terminal: whatever is printed is harmless there and holds no secret; only our own colours pass."""

import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO

from iikata.core.records import TrainStep
from iikata.core.text import HIDDEN, safe_text

COLOUR = re.compile(r"(\x1b\[(?:0|2|7|32)m)")  # those of encode.show
BARS = "▁▂▃▄▅▆▇█"
_MOVES = re.compile(r"\n*(?:\x1b\[A)*")


class Guarded:
    """A stream that prints every text as it may be shown, whoever writes it: iikata, argparse, a traceback, a library.

    With `bars`, a downloader's progress bars may move the cursor of a terminal: a leading carriage return passes, and
    what is nothing but steps downwards and upwards.
    """

    def __init__(self, stream: TextIO, bars: bool = False) -> None:
        self.stream = stream
        self.bars = bars

    def write(self, text: str) -> int:
        passing = 0
        if self.bars and self.stream.isatty():
            passing = len(text) if _MOVES.fullmatch(text) else int(text.startswith("\r"))
        self.stream.write(text[:passing] + safe_text(text[passing:]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Let stdout and stderr be Guarded while this lasts; a character that their encoding lacks is escaped.

    One that the shell has closed (>&-) goes nowhere.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = sys.stdout or nowhere, sys.stderr or nowhere
        for stream in (out, err):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = guard(out), guard(err, bars=True)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def guard(stream: Any, bars: bool = False) -> Any:
    """Return a Guarded stream; `Any`, for it is a TextIO by what it does alone."""
    return Guarded(stream, bars)


def bare(stream: TextIO) -> TextIO:
    """Return the stream itself, for code that paints and escapes every untrusted text itself."""
    return stream.stream if isinstance(stream, Guarded) else stream


def painted(text: str, coloured: bool = True) -> str:
    """Return `text` with its colours, where they are wanted, and nothing else that a terminal obeys."""
    text = text if coloured else COLOUR.sub("", text)
    return "".join(part if COLOUR.fullmatch(part) else safe_text(part) for part in COLOUR.split(text))


def dumped(value: Any, indent: int | None = None) -> str:
    """Return the value as JSON for stdout."""
    text = json.dumps(value, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf"), indent=indent)
    return inert(text)


def inert(text: str) -> str:
    """Return JSON of the same value with every invisible character escaped."""
    return HIDDEN.sub(lambda match: json.dumps(match.group())[1:-1].replace("\x7f", "\\u007f"), text)


def language(asked: str | None) -> str:
    """Return "ja" where it is asked for or the environment is Japanese, else "en"."""
    said = asked or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "ja" if said.startswith("ja") else "en"


def in_words(message: str, asked: str | None) -> str:
    """Return an error's text in the language that `language` says."""
    if language(asked) == "en":
        return message
    from iikata.core.japanese import japanese

    return japanese(message)


def numbers(step: TrainStep) -> tuple[str, str, str]:
    """Return what a step measured, in words."""
    return f"loss {step.loss:.3f}", f"lr {step.learning_rate:.1e}", f"norm {step.grad_norm:.2f}"


def sparkline(values: Sequence[float]) -> str:
    """Return a curve in one line of bars, from the lowest of its finite values to the highest."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)


def one_line(text: str) -> str:
    """Return `text` without anything that a terminal obeys."""
    return " ".join(safe_text(text).split())


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
