"""The cache: folders that are made once, completely or not at all, and checked before they are used again."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import read_json, sha256_of, write_text
from iikata.core.system import replace, sync_folder

LOCK = ".lock"
SOURCE = "source.json"
"""What a folder was made from, and the size and sha256 of each file in it."""


def cache_folder() -> Path:
    """Where downloads and conversions are kept: $IIKATA_CACHE, else ~/.cache/iikata."""
    if given := os.environ.get("IIKATA_CACHE"):
        return Path(os.path.expanduser(given))
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iikata"
    except RuntimeError:
        raise IikataError("you have no home folder to keep models in. Set IIKATA_CACHE to a folder for them.") from None


def make_once(target: Path, write: Callable[[Path], Mapping[str, Any]]) -> Path:
    """Return the folder `target`, made by `write` where it is missing or incomplete; one process at a time makes it.

    `write` fills an empty folder and returns what it came from. What a killed process left is swept.
    Raises IikataError where the cache cannot be used.
    """
    from filelock import FileLock

    try:
        fault = _fault(target)
        if fault is None:
            return target
        if target.exists():
            print(f"iikata: {target}: {fault}; it is made again.", file=sys.stderr, flush=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / LOCK):
            if _fault(target) is not None:  # else another process has made it
                _make(target, write)
    except OSError as error:
        raise IikataError(
            f"{target}: could not be written or read: {error.strerror or error}. "
            "Set IIKATA_CACHE to a folder that can be written and has room (1 GB for the embedded model)."
        ) from None
    return target


def _fault(folder: Path) -> str | None:
    """Return what the folder lacks of what was written into it; None for nothing. Sizes alone are compared."""
    try:
        files = read_json(folder / SOURCE, dict[str, Any], "")["files"]
        sizes = {name: int(file["size"]) for name, file in files.items()}
    except (IikataError, ValueError, LookupError, TypeError, AttributeError):
        return f"{SOURCE} is missing or damaged"
    for name, size in sizes.items():
        path = folder / name
        seen = path.stat().st_size if path.is_file() else None
        if seen != size:
            return f"{name} is damaged ({'missing' if seen is None else f'{seen} bytes'}, {size} were written)"
    return None


def _make(target: Path, write: Callable[[Path], Mapping[str, Any]]) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        source = write(part)
        paths = sorted(path for path in part.iterdir() if path.is_file())
        files = {path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in paths}
        for path in paths:
            # A rename may reach the disk before the bytes of what is renamed; after a power cut these would be zeros.
            with path.open("r+b") as file:
                os.fsync(file.fileno())
            path.chmod(part.stat().st_mode & 0o666)  # safetensors writes for its owner alone; a cache may be shared
        write_text(part / SOURCE, json.dumps({**source, "files": files}))
        if target.exists():
            shutil.rmtree(target)
        replace(part, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
