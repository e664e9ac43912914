"""How bytes reach the disk so that a kill, a power cut or a full disk loses none, and how strangers' JSON is read."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from iikata.core.errors import IikataError

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A file that a link of a stranger's folder points at is never written."""
BINARY = getattr(os, "O_BINARY", 0)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; raises ValueError for what is none, and for one nested beyond all sense."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace `path` whole: a reader or a kill sees the old file or the new one, never half of one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` whole, by way of a temporary file that reaches the disk before it takes the name."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        _write_new(temporary, content)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(path, error) from None
        raise


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | BINARY, 0o666)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """See to it that the names in `folder` reach the disk too."""
    with suppress(OSError):  # Windows opens no folder, and some network file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as one line; JSON has neither NaN nor infinity, so both are null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(finite, ensure_ascii=False) + "\n"


class Appender:
    """Adds lines to a file; a torn last line that a kill left behind is cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK | BINARY
            self._file = FileIO(os.open(path, flags, 0o666), "a+")
            _drop_torn_line(self._file)
        except OSError as error:
            raise _refused(path, error) from None

    def __enter__(self) -> "Appender":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record as a line, whole or not at all."""
        content = line_of(record).encode()
        before = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(content) or 0
            if written < len(content):  # the disk took a part of it; the next write says why it took no more
                self._file.write(content[written:])
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise _refused(self._path, error) from None

    def sync(self) -> None:
        """Wait until all that was added has reached the disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _refused(self._path, error) from None


def _refused(path: Path, error: OSError) -> IikataError:
    if path.is_dir():
        return IikataError(f"{path}: a folder where a file belongs. Delete it and run the same command again.")
    return IikataError(
        f"{path}: could not be written: {error.strerror or error}. All that was there before is intact; "
        "make room (or give a folder that may be written), and the same command goes on."
    )


def is_torn(path: Path) -> bool:
    """Return whether the file ends in the middle of a line."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _last(file: FileIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1) or b""


def _drop_torn_line(file: FileIO) -> None:
    """Cut off what follows the last line break."""
    size = file.seek(0, os.SEEK_END)
    if size and _last(file) != b"\n":
        file.seek(0)
        file.truncate(file.readall().rfind(b"\n") + 1)
