"""How bytes reach the disk so that a kill, a power cut or a full disk loses none, and how JSON is read."""

import hashlib
import json
import math
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from io import FileIO
from itertools import islice
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Any, TypeVar, cast

from iikata.core.errors import IikataError
from iikata.core.files import read_bytes, size
from iikata.core.system import BINARY, NO_LINK, replace, sync_folder

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

PLAIN_WORDS = {"recursion limit exceeded": "nested too deeply", "invalid unicode code point": "not UTF-8"}
MOST_BYTES = 1 << 30
"""No JSON file of a model, an adapter or a run is larger."""
AT_ONCE = 100
"""Lines that are parsed together, which takes a quarter less than one by one; more take no less."""


def read_json(path: Path, kind: type[T], fix: str, most_bytes: int = MOST_BYTES) -> T:
    """Return what a JSON file holds, as parse_json does. Raises IikataError as it does, and where there is no file."""
    return parse_json(read_bytes(path, most_bytes, fix=fix), kind, str(path), fix)


def read_jsonl(path: Path, kind: type[T], fix: str) -> Iterator[T]:
    """Yield what the lines of a file hold: none where there is no file, and no last line that a kill has torn."""
    if not path.exists():
        return
    from pydantic import ValidationError

    size(path, fix=fix)
    read = _adapter(cast(Hashable, GenericAlias(list, (kind,)))).validator.validate_json
    number, found = 1, list[T]()
    with path.open("rb") as file:  # a kill may tear a character, not only a line
        while lines := [line for line in islice(file, AT_ONCE) if line.endswith(b"\n")]:
            with suppress(ValidationError):
                found = read(b"[" + b",".join(lines) + b"]", strict=True)
            if len(found) != len(lines):  # one by one, which says what is wrong
                found = [parse_json(line[:-1], kind, str(path), fix, number + n) for n, line in enumerate(lines)]
            yield from found
            number, found = number + len(lines), []


def parse_json(text: str | bytes, kind: type[T], where: str, fix: str, line: int | None = None) -> T:
    """Return the value of a JSON text, which must be of `kind`: a type, a record, a pydantic model.

    Raises IikataError with the place (`where`, and the `line` of it that the text is), what was seen and the fix.
    """
    from pydantic import ValidationError

    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(text, strict=True))
    except ValidationError as error:
        place, why = _fault(error, line)
        raise IikataError(f"{where}{place}: {why}. {fix}".rstrip()) from None


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value that was read is of `kind`, a type as pydantic takes it."""
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def parse_user_json(text: str, where: str, fix: str, line: int | None = None) -> Any:
    """Return the value of JSON that people write: rows, probes, templates. Raises IikataError as parse_json does.

    A key that is there twice is refused. Half a surrogate pair is passed on, so that its row alone is left out.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(found := dict(pairs)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            at = line or text.count("\n", 0, text.rfind(json.dumps(twice, ensure_ascii=False))) + 1
            raise IikataError(f'{where}:{at}: not JSON: the key "{twice:.60}" is there twice. {fix}')
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        place, why = f":{(line or 1) + error.lineno - 1}:{error.colno}", error.msg
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        place, why = f":{line or 1}", "nested too deeply" if deep else "a number has more digits than can be read"
    raise IikataError(f"{where}{place}: not JSON: {why}. {fix}")


@cache
def _adapter(kind: Hashable) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(cast(Any, kind))


def _fault(error: "ValidationError", line: int | None) -> tuple[str, str]:
    """Return the place and the words of what is wrong first."""
    fault = error.errors(include_url=False)[0]
    place, name, seen = f":{line}" if line else "", ".".join(map(str, fault["loc"])), shown(fault["input"])
    if fault["type"] == "json_invalid":
        why, at_line, column = re.findall("(.*) at line ([0-9]+) column ([0-9]+)$", fault["ctx"]["error"])[0]
        return f":{(line or 1) + int(at_line) - 1}:{max(int(column), 1)}", f"not JSON: {PLAIN_WORDS.get(why, why)}"
    if fault["type"] in ("missing", "unexpected_keyword_argument"):
        return place, f'"{name}" is missing' if fault["type"] == "missing" else f'"{name}" is unknown'
    said = fault["msg"].replace("Input should", "it should")
    return place, f'"{name}" is {seen}; {said}' if name else f"{seen} was seen; {said}"


def shown(value: Any) -> str:
    """Return the beginning of a value as JSON writes it: enough to find it by."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace all of `path`: a reader or a kill sees the old file or the new one, never half of one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replace all of `path`, by way of a temporary file that reaches the disk before it takes the name.

    Content in parts need not fit into memory; where making one fails, nothing is replaced.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | BINARY, 0o666)
        with open(descriptor, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(path, error) from None
        raise


FINITE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as one line; JSON has neither NaN nor infinity, so both are null."""
    try:
        return FINITE(record) + "\n"
    except ValueError:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        return FINITE(finite) + "\n"


class Appender:
    """Adds lines to a file; a torn last line that a kill left behind is cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK | BINARY
            self._file = FileIO(os.open(path, flags, 0o666), "a+")
            if _ends_torn(self._file):
                self._file.seek(0)
                self._file.truncate(self._file.readall().rfind(b"\n") + 1)
        except OSError as error:
            raise _refused(path, error) from None

    def __enter__(self) -> "Appender":
        return self

    def __exit__(self, *_: object) -> None:
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
    if not path.is_file():
        return False
    with FileIO(path) as file:
        return _ends_torn(file)


def _ends_torn(file: FileIO) -> bool:
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
