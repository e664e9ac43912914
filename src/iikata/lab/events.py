"""What the lab tells while it works; the faces (terminal, page) decide how to show it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stage begins; `todo` is what is not there yet."""

    name: str
    todo: int
    what: str


@dataclass(frozen=True)
class Progress:
    """`done` of the stage's `todo` are finished."""

    stage: str
    done: int
    todo: int
    note: str = ""


@dataclass(frozen=True)
class Warned:
    """Something the user should know; the run goes on."""

    message: str


Event = Stage | Progress | Warned
Tell = Callable[[Event], None]
