"""Read a text file in the encoding that it declares, or say in one sentence why it cannot be read."""

import codecs
import difflib
import re
import stat
from pathlib import Path

from iikata.core.errors import IikataError

MARKS = {  # UTF-32's begins with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
GUESSED = 1_000_000
"""Bytes from which an encoding is guessed."""
JAPANESE = re.compile("[\u3040-\u30ff\u3001\u3002]")
MISREAD = re.compile("[\uff61-\uff9f\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Half-width katakana and control characters: many of them say that the guess is wrong."""


def read_text(path: Path, shown: str = "", most_bytes: int | None = None) -> str:
    """Return the text of `path`: UTF-8, or what its byte order mark declares. Errors call the file `shown`.

    Raises IikataError as `size` does, and where the file is larger than `most_bytes`, or in another encoding (with
    the line and column of the first wrong byte, and the encoding's name where it can be told).
    """
    shown = shown or str(path)
    if size(path, shown) > (most_bytes or float("inf")):
        raise IikataError(f"{shown} is larger than {most_bytes:,} bytes. Check the path, or split the file.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IikataError(f"{shown} cannot be read: {error.strerror}.") from None
    declared = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        if declared == "utf-8" and (column_mask := re.search(rb"\x1b\$|\A(\0.|.\0)", data[:GUESSED], re.DOTALL)):
            # ISO-2022-JP is ASCII and UTF-16 without a mark may be, and both would be read as such.
            raise UnicodeDecodeError("utf-8", data, column_mask.start(), len(data), "")
        return data.decode(declared)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        seen = f"{shown}:{line}:{column}: not {declared.removesuffix('-sig').upper()}"
        # Letters that were UTF-8 before say that the rest is, torn or mixed.
        raise IikataError(seen + _advice(data[:GUESSED] if data[: error.start].isascii() else b"")) from None


def _advice(data: bytes) -> str:
    """Return how to convert a text, and the encoding that it seems to have."""
    found = {}
    for name in ("iso-2022-jp", "cp932", "euc-jp", "utf-16-le", "utf-16-be", "cp1252"):
        text = data.decode(name, "replace")
        wrong = len(MISREAD.findall(text)) + 20 * text.count("\ufffd")
        if text and wrong * 20 <= len(text) and (b"\0" in data or "16" not in name):
            found[name] = 3 * len(JAPANESE.findall(text)) - wrong
    if not found:
        return "; save it as UTF-8."
    name = max(found, key=found.__getitem__)
    return f" (it can be read as {name}); save it as UTF-8, as with: iconv -f {name} -t utf-8 FILE > NEW"


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
    if not path.parent.is_dir():
        return f"{shown}: no such file, nor its folder."
    return f"{shown}: no such file{near_file(path)}."


def near_file(path: Path) -> str:
    """Return ` (did you mean "x"?)` for a file of the same folder whose name is spelled alike, whatever its ending."""
    try:
        files = sorted(path.parent.iterdir(), key=lambda file: file.suffix == path.suffix)
    except OSError:
        return ""
    names = {file.stem: file.name for file in files}
    near = difflib.get_close_matches(path.stem, names, n=1)
    return f' (did you mean "{names[near[0]]}"?)' if near else ""
