"""What a chat template may cost: each value that it makes or reads is weighed and taken off a budget that ends."""

import time
from collections.abc import Callable, MappingView
from contextvars import ContextVar
from itertools import chain
from operator import length_hint
from sys import getsizeof
from typing import Any

from jinja2.sandbox import SecurityError

BUDGET = 100_000_000
"""What one rendering may cost: a byte made costs 1, eight bytes read 1, a turn of a loop or an operation STEP."""
STEP = 400
LARGEST = 5_000_000
"""Bytes of one value, with all that it holds, as often as it holds it (so lists of one shared list end too)."""
DEEPEST = 50
MOST_DIGITS = 15
MOST_SECONDS = 10.0
"""Of the processor's time, for a slow machine only: the budget is spent within a second or two. A machine that was
asleep, or busy with something else, refuses no row that it would have taken."""
HOLDERS = (dict, list, tuple, set, frozenset, MappingView)
AHEAD: dict[str, Callable[..., int]] = {
    "replace": lambda text, old, new, *_: 4 * text.count(old) * len(new),
    "join": lambda glue, items: 4 * len(glue) * length_hint(items),
    # Python looks for each mark at each end, and for a part from the right, letter by letter.
    **dict.fromkeys(
        ("strip", "lstrip", "rstrip", "rfind", "rindex", "rsplit", "rpartition"),
        lambda text, *parts: len(text) * sum(len(part) for part in parts if isinstance(part, str)) // 8,
    ),
    "|replace": lambda text, old, new, count=None: AHEAD["replace"](str(text), str(old), str(new)),
    "|join": lambda items, d="", attribute=None: (
        AHEAD["join"](str(d), items) + length_hint(items) * STEP * _steps(attribute)
    ),
    "|trim": lambda text, chars=None: AHEAD["strip"](str(text), chars),
    "|indent": lambda text, width=4, *_, **__: (
        4 * (str(text).count("\n") + 1) * (max(width, 0) if isinstance(width, int) else len(width))
    ),
    **dict.fromkeys(
        ("|map", "|selectattr", "|rejectattr", "|select", "|reject", "|sort", "|unique", "|min", "|max"),
        lambda items, *given, **named: length_hint(items) * STEP * _steps(*given, *named.values()),
    ),
    "|title": lambda text: 40 * len(str(text)),
    "|tojson": lambda value, *_, **__: weight(value),
    "|round": lambda value, precision=0, method=None: precision**2,
}
"""What is to be paid beforehand where the result may be much larger than its parts, or take much longer."""


def _steps(*given: Any) -> int:
    """Return how many attributes `attribute='a.b,c'` makes a filter read of each item."""
    return 1 + sum(text.count(".") + text.count(",") for text in given if isinstance(text, str))


class Meter:
    """What is left of the budget of one rendering."""

    def __init__(self) -> None:
        self.left = self.look = BUDGET
        """`look`: where the clock is to be looked at next."""
        self._deadline = time.thread_time() + MOST_SECONDS

    def check(self, cost: int) -> None:
        self.look = self.left - BUDGET // 100
        if cost > LARGEST:
            raise SecurityError(f"it makes or reads a value of more than {LARGEST:,} bytes")
        if self.left < 0 or time.thread_time() > self._deadline:
            raise SecurityError(
                f"it takes more than {BUDGET // STEP:,} steps, {BUDGET:,} bytes or {MOST_SECONDS:.0f} seconds for a row"
            )


METER: ContextVar[Meter] = ContextVar("METER")


def spend(cost: int) -> bool:
    meter = METER.get()
    meter.left -= cost
    if meter.left < meter.look:
        meter.check(cost)
    return True


def weight(value: Any, room: int = LARGEST, depth: int = 0) -> int:
    """Return the bytes of a value with all that it holds; raises SecurityError for one beyond the limits."""
    size = getsizeof(value)
    if type(value) is str:
        return size
    if isinstance(value, HOLDERS):
        if depth == DEEPEST:
            raise SecurityError(f"it nests lists more than {DEEPEST} deep")
        size += STEP // 2 * len(value)
        parts: Any = chain(value, value.values()) if isinstance(value, dict) else value
        for part in parts:
            if size > room:
                raise SecurityError(f"it makes or reads a value of more than {LARGEST:,} bytes")
            size += weight(part, room - size, depth + 1)
    elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise SecurityError(f"it makes an integer of more than {MOST_DIGITS} digits")
    return size


def made(value: Any) -> Any:
    spend(STEP + weight(value))
    return value


def read(value: Any) -> Any:
    spend(weight(value) // 8)
    return value


def joined(*parts: Any) -> str:
    texts = [part if type(part) is str else written(part) for part in parts]
    spend(STEP + 4 * sum(map(len, texts)))  # one wide character makes all of the text wide
    return "".join(texts)


def total(value: Any, *parts: Any) -> Any:
    if {type(value), *map(type, parts)} == {str}:
        return joined(value, *parts)
    for part in parts:
        value = made(value + part)
    return value


def product(left: Any, right: Any) -> Any:
    for many, times in ((left, right), (right, left)):
        if isinstance(times, int) and not isinstance(many, int | float):
            spend((4 * len(many) if isinstance(many, str) else weight(many)) * max(times, 0))
    return made(left * right)


def power(left: Any, right: Any) -> Any:
    spend(weight(left) * int(right) ** 2)
    return made(left**right)


def remainder(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        raise SecurityError("it formats text by %; write the text and the values with ~ between them")
    return left % right


def written(value: Any) -> str:
    text = str(value)
    spend(STEP // 4 + 4 * len(text))
    return text


def turn(cost: int) -> bool:
    # `map` takes the name of a filter as a text, so a template can give this one a number of its own.
    return spend(abs(cost))


PARTS = {f" {part.__name__}": part for part in (turn, made, read, joined, total, product, power, remainder, written)}
"""Filters under names that no template can write after a |: Jinja calls them directly, without a call's detour."""
