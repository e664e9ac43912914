"""Runs an experiment in a child process that may be killed at any moment, and says what became of its files."""

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from iikata.pipeline import Pipeline, Stage
from tiny_experiment import contents

OPENED_TO_WRITE = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir")


class Child:
    """A run of `experiment` into `out` in a fork of this process, which has all imports done."""

    def __init__(self, experiment, out: Path, before: Callable[[], None] = lambda: None) -> None:
        self.out = out
        self._status: int | None = None
        self._reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        status = 70
        try:
            os.close(self._reader)
            before()
            Pipeline(experiment, out, lambda event: _tell(writer, event)).run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def kill(self, after: float) -> bool:
        """Kill it after so many seconds; return whether it still ran."""
        end = time.monotonic() + after
        while time.monotonic() < end and not self._ended(os.WNOHANG):
            time.sleep(0.001)
        if self._status is None:  # not waited for yet, so the number is still its own
            os.kill(self.pid, signal.SIGKILL)
        return self.wait() != 0

    def wait(self) -> int:
        """Return its exit status, negative for a signal."""
        self._ended(0)
        with os.fdopen(self._reader) as told:
            self.stages = told.read().split()
        return os.waitstatus_to_exitcode(self._status or 0)

    def _ended(self, options: int) -> bool:
        if self._status is None:
            ended, status = os.waitpid(self.pid, options)
            self._status = status if ended else None
        return self._status is not None


def _tell(writer: int, event) -> None:
    if isinstance(event, Stage):
        os.write(writer, f"{event.name}\n".encode())


def seconds_of(experiment, out: Path) -> float:
    """Return how long an undisturbed run takes."""
    start = time.monotonic()
    assert Child(experiment, out).wait() == 0
    return time.monotonic() - start


def at_changes(folder: Path, act: Callable[[int], object]) -> Callable[[], None]:
    """Return what, called in the child, lets it `act` just before each change of a file in `folder`, by its number."""
    seen = 0

    def hear(event: str, given: tuple) -> None:
        nonlocal seen
        opened = event == "open" and isinstance(given[2], int) and given[2] & OPENED_TO_WRITE
        if (opened or event in CHANGES) and str(given[0]).startswith(str(folder)):
            seen += 1
            act(seen)

    return lambda: sys.addaudithook(hear)


def at_change(number: int, folder: Path, act: Callable[[], None]) -> Callable[[], None]:
    return at_changes(folder, lambda seen: act() if seen == number else None)


def count_changes(experiment, out: Path) -> int:
    """Return how often an undisturbed run changes a file in its folder."""
    reader, writer = os.pipe()
    assert Child(experiment, out, at_changes(out, lambda number: os.write(writer, b"."))).wait() == 0
    os.close(writer)
    with os.fdopen(reader) as told:
        return len(told.read())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lost(run: Path, whole: Path) -> int:
    """Return how many bytes of the undisturbed run are not the same in `run`; stale files count too."""
    found, wanted = contents(run), contents(whole)
    bytes_apart = 0
    for name in found.keys() | wanted.keys():
        ours, theirs = found.get(name, b""), wanted.get(name, b"")
        if ours != theirs:
            print(f"{name}: {len(ours)} bytes, {len(theirs)} in the undisturbed run", file=sys.stderr)
            bytes_apart += max(1, abs(len(ours) - len(theirs)), sum(a != b for a, b in zip(ours, theirs, strict=False)))
    return bytes_apart


def tear(run: Path, chance: random.Random) -> str:
    """Do to the file written last what a power cut may do to its last block; return which and how."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in ("lock", "running.json")]
    path = max(files, key=lambda file: file.stat().st_mtime_ns)
    content = path.read_bytes()
    block = min(len(content), chance.choice((1, 64, 512, 4096)))
    zeroed = chance.random() < 0.5
    path.write_bytes(content[: len(content) - block] + bytes(block) * zeroed)
    return f"{path.relative_to(run)}: last {block} bytes {'zeroed' if zeroed else 'cut'}"


def ended(declared, out: Path, whole: Path, tally) -> None:
    """Let the run go on undisturbed; it must end with the same bytes and leave nothing stale."""
    child = Child(declared, out)
    assert child.wait() == 0
    assert not [path for path in out.rglob("*") if path.name.startswith(".") or path.name == "running.json"]
    tally("bytes lost", apart := lost(out, whole))
    assert apart == 0
