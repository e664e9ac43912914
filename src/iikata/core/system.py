"""What differs between Linux, macOS and Windows: the one file that asks, with a plain answer where a system has none.

(The sandbox of templates limits itself, since it runs without this package.)
"""

import ctypes
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A file that a link in an untrusted folder points at is never written."""
BINARY = getattr(os, "O_BINARY", 0)
GROUP: dict[str, Any] = (
    {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    if hasattr(subprocess, "CREATE_NEW_PROCESS_GROUP")
    else {"start_new_session": True}
)
"""For Popen: Ctrl-C is for this process, which then ends its child."""
WAITS, TRIES, PAUSE = os.name == "nt", 20, 0.05
"""Whether a file that somebody reads keeps its name; how often and after how many seconds it is asked again."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt(3)."""


def replace(source: Path, target: Path) -> None:
    """Give `source` the name of `target`. On Windows that waits for who reads the old one, for a second at most."""
    for _ in range(TRIES - 1 if WAITS else 0):
        with suppress(PermissionError):
            return os.replace(source, target)
        time.sleep(PAUSE)
    return os.replace(source, target)


def sync_folder(folder: Path) -> None:
    """See to it that the names in `folder` reach the disk too."""
    with suppress(OSError):  # Windows opens no folder, and some network file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link(path: Path, target: Path) -> None:
    """Let `path` be another name of the file `target`; a copy where the system makes no links (Windows, for users)."""
    try:
        path.symlink_to(target)
    except OSError:
        shutil.copyfile(target, path)


def peak_memory() -> int:
    """Return the most bytes that this process has taken; 0 where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: on CPU every step asks for the same sizes again. Elsewhere do nothing.

    Given back to the system, their pages must be zeroed again; kept, training and decoding take a sixth less time.
    """
    with suppress(OSError, TypeError, AttributeError):  # another C library, or (Windows) none under that name
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, 1 << 30)
