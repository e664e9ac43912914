"""Ctrl-C and the signals that ask a process to end: raised at once, or, where a step must end first, after it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""SIGHUP is what a closed terminal sends."""


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to end; no fault, so nothing that goes on after faults may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class _Asked:
    """Signals belong to the process, so there is one of this."""

    number = 0
    deferred = False


@contextmanager
def install(tell: Callable[[str], None]) -> Iterator[None]:
    """Raise Stopped for a signal from now on; `tell` is told where a step has to end first."""

    def handle(number: int, frame: FrameType | None) -> None:
        if _Asked.deferred and not _Asked.number:
            _Asked.number = number
            tell("ending this step and saving; once more stops at once.")
        else:
            raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():  # Python hears signals there alone
        yield
        return
    with kept():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has asked for that
                signal.signal(number, handle)
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Have signals handled as before when this ends, whoever put other ways in their place."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        with suppress(ValueError):  # not on the main thread, where none can be put either
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def ignore() -> None:
    """Ignore signals while the process ends; only on the thread where `install` handles them."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def ask() -> None:
    """Ask for an end as Ctrl-C does, where a step has to end first; elsewhere nothing is asked."""
    if _Asked.deferred:
        _Asked.number = signal.SIGINT


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Let a signal wait; gives what says whether one does. Leaving raises Stopped where one still waits."""
    _Asked.deferred, _Asked.number = True, 0
    try:
        yield lambda: bool(_Asked.number)
    finally:
        _Asked.deferred, number = False, _Asked.number
        _Asked.number = 0
    if number:
        raise Stopped(number)
