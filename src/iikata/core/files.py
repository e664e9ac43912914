"""Read a file that a person names: to its end, in the encoding it declares, or say in one sentence why not."""

import codecs
import re
import stat
from pathlib import Path

from iikata.core.errors import IikataError
from iikata.core.registry import nearest

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
OTHER = "Name another file."


def size(path: Path, shown: str = "", fix: str = OTHER) -> int:
    """Return the bytes of a file that can be read to its end; errors call it `shown`.

    Raises IikataError where there is none (naming one that is spelled alike), and for a folder, a pipe or a device.
    """
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_size
        folder = stat.S_ISDIR(found.st_mode)
        why = "a folder where a file belongs" if folder else "a pipe or a device, which may never end: save it first"
    except FileNotFoundError:
        near = near_file(path) if path.parent.is_dir() else ", nor its folder"
        why = f"a link to {path.readlink()}, and there is no such file" if path.is_symlink() else f"no such file{near}"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    except ValueError:
        why = "a file's name holds no NUL"
    raise IikataError(f"{shown or path!s:.300}: {why}. {fix}".rstrip())


def near_file(path: Path) -> str:
    """Return ` (did you mean "x"?)` for a file of the same folder whose name is spelled alike, whatever its ending."""
    try:
        files = sorted(path.parent.iterdir(), key=lambda file: file.suffix == path.suffix)
    except OSError:
        return ""
    names = {file.stem: file.name for file in files if file.name != path.name}
    near = nearest(path.stem, names)
    return f' (did you mean "{names[near]}"?)' if near else ""


def read_bytes(path: Path, most_bytes: int, shown: str = "", fix: str = OTHER) -> bytes:
    """Return a file's content. Raises IikataError as `size` does, and where it is larger than `most_bytes`."""
    if size(path, shown, fix) > most_bytes:
        most = f"larger than {most_bytes:,} bytes, the most that is read here; split it, or check the path"
        raise IikataError(f"{shown or path}: {most}. {fix}".rstrip())
    try:
        return path.read_bytes()
    except OSError as error:
        raise IikataError(f"{shown or path}: cannot be read: {error.strerror}. {fix}".rstrip()) from None


def read_text(path: Path, most_bytes: int, shown: str = "", fix: str = OTHER) -> str:
    """Return the text of `path`: UTF-8, or what its byte order mark declares.

    Raises IikataError as `read_bytes` does, and where it is in another encoding (with the line and column of the first
    wrong byte, and the encoding's name where it can be told).
    """
    data = read_bytes(path, most_bytes, shown, fix)
    declared = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        if declared == "utf-8" and (found := re.search(rb"\x1b\$|\A(\0.|.\0)", data[:GUESSED], re.DOTALL)):
            # ISO-2022-JP is ASCII and UTF-16 without a mark may be, and both would be read as such.
            raise UnicodeDecodeError("utf-8", data, found.start(), len(data), "")
        return data.decode(declared)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        seen = f"{shown or path}:{line}:{column}: not {declared.removesuffix('-sig').upper()}"
        # Letters that were UTF-8 before say that the rest is, torn or mixed.
        raise IikataError(_advice(seen, data[:GUESSED] if data[: error.start].isascii() else b"")) from None


def _advice(seen: str, data: bytes) -> str:
    """Return what was seen, how to convert a text, and the encoding that it seems to have."""
    found = {}
    for name in ("iso-2022-jp", "cp932", "euc-jp", "utf-16-le", "utf-16-be", "cp1252"):
        text = data.decode(name, "replace")
        wrong = len(MISREAD.findall(text)) + 20 * text.count("\ufffd")
        if text and wrong * 20 <= len(text) and (b"\0" in data or "16" not in name):
            found[name] = 3 * len(JAPANESE.findall(text)) - wrong
    if not found:
        return f"{seen}; save it as UTF-8."
    name = max(found, key=found.__getitem__)
    return f"{seen} (it can be read as {name}); save it as UTF-8, as with: iconv -f {name} -t utf-8 FILE > NEW"
