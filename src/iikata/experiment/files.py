"""Read a UTF-8 text file, or say in one sentence why it cannot be read."""

import stat
from pathlib import Path

from iikata.errors import IikataError
from iikata.registry import did_you_mean


def read_text(path: Path, shown: str = "", most_bytes: int | None = None) -> str:
    """Return the text of `path` without its byte order mark; errors call the file `shown`.

    Raises IikataError as `size` does, and where the file is larger than `most_bytes`, or not UTF-8 (with the line
    and column of the first wrong byte).
    """
    shown = shown or str(path)
    if size(path, shown) > (most_bytes or float("inf")):
        raise IikataError(f"{shown} is larger than {most_bytes:,} bytes: not a file of this kind, or to be split.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IikataError(f"{shown} cannot be read: {error.strerror}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise IikataError(f"{shown}:{line}:{column}: not UTF-8{_encoding(data)}; save it as UTF-8.") from None


def size(path: Path, shown: str) -> int:
    """Return the bytes of a file that can be read to its end.

    Raises IikataError where there is no such file (naming one that is spelled alike), where it is a folder, or a
    pipe or a device: reading those may never end.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise IikataError(no_such_file(path, shown)) from None
    except OSError as error:
        raise IikataError(f"{shown:.300} cannot be read: {error.strerror}. Name another file.") from None
    except ValueError:
        raise IikataError(f"{shown:.300}: a file's name holds no NUL. Name another file.") from None
    if stat.S_ISDIR(found.st_mode):
        raise IikataError(f"{shown} is a folder; name a file in it.")
    if not stat.S_ISREG(found.st_mode):
        raise IikataError(f"{shown} is a pipe or a device, which may have no end; write it to a file and name that.")
    return found.st_size


def no_such_file(path: Path, shown: str) -> str:
    """Return the sentence that says so, with a file of the same folder that is spelled alike."""
    if path.is_symlink():
        return f"{shown}: a link to {path.readlink()}, and there is no such file. Name the file itself."
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return f"{shown}: no such file, nor its folder."
    return f"{shown}: no such file{did_you_mean(path.name, names)}."


def _encoding(data: bytes) -> str:
    for name, marks in (("utf-16", (b"\xff\xfe", b"\xfe\xff")), ("cp932", (b"",)), ("euc_jp", (b"",))):
        try:
            if data.startswith(marks) and data.decode(name):
                return f" (it can be read as {name})"
        except UnicodeDecodeError:
            continue
    return ""
