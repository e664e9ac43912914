"""One process at a time works in a folder, and the next is told which; no link leads out of it."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from iikata.core.errors import IikataError
from iikata.core.io import read_json, write_text
from iikata.core.text import redact

LOCK, HOLDER = "lock", "running.json"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep `folder` (made where it is missing) from other processes while this lasts.

    The system lets go of a dead process's lock, so there is none to clear by hand. Raises IikataError naming the
    process that holds it.
    """
    from filelock import FileLock, Timeout

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise IikataError(
            f"{folder}: {_holder(folder)} is at work here. Wait until it ends, end it, or give another folder."
        ) from None
    except OSError as error:
        raise IikataError(
            f"{folder}: cannot be worked in: {error.strerror or error}. Give a folder that can be written: --out DIR."
        ) from None
    try:
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        command = redact(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
        own = {"process": os.getpid(), "machine": platform.node(), "since": started, "command": command}
        write_text(folder / HOLDER, json.dumps(own) + "\n")
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        with suppress(OSError):  # a refused experiment leaves nothing behind
            if [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                for path in made:
                    path.rmdir()
        lock.release()


def _holder(folder: Path) -> str:
    try:
        who = read_json(folder / HOLDER, dict[str, str | int], "")
        return f"process {who['process']} on {who['machine']} (since {who['since']}: {str(who['command'])[:200]})"
    except (IikataError, KeyError):
        return "another process"


def refuse_links(folder: Path) -> None:
    """Raise IikataError for a link in `folder` that leads out of it, and for what is neither file nor folder.

    What is written behind such a link would land elsewhere, and a pipe would keep its reader waiting for ever.
    """
    inside = folder.resolve()
    for entry in _entries(folder):
        if not (entry.is_symlink() or entry.is_file() or entry.is_dir()):
            raise IikataError(f"{entry.path}: neither a file nor a folder, so nothing of this run. Delete it.")
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
            raise IikataError(
                f"{entry.path}: a link that leads out of the run folder. Put what it points at in its place, or give "
                "the other folder itself with --out DIR."
            )


def _entries(folder: str | Path) -> "Iterator[os.DirEntry[str]]":
    # An entry knows its kind without being opened: a run of 900 files is looked through in some milliseconds. Opening
    # each file without following links would see its last name only, and safetensors and peft open by name.
    with suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
