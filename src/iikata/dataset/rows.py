"""Read the rows of a json, jsonl, csv or parquet file, each with the place it came from."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iikata.errors import IikataError
from iikata.experiment import no_such_file, read_text

Row = tuple[str, dict[str, Any]]
"""`file:line` and the fields."""


def read_rows(path: Path, shown: str) -> Iterator[Row]:
    """Yield the rows of `path`; `shown` is the file's name in places and errors.

    Raises IikataError where the file is missing or broken, or its ending is none of READERS.
    """
    if not path.exists():
        raise IikataError(no_such_file(path, shown))
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise IikataError(f"{shown}: rows are read from files that end in {', '.join(READERS)}.")
    return reader(path, shown)


def _jsonl(path: Path, shown: str) -> Iterator[Row]:
    # Not splitlines(): U+2028 and the like may stand inside a JSON string.
    for number, line in enumerate(read_text(path, shown).split("\n"), start=1):
        if line.strip():
            yield _row(_parse(line, shown, number), f"{shown}:{number}")


def _json(path: Path, shown: str) -> Iterator[Row]:
    text = read_text(path, shown)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        # Many data sets keep JSON Lines in a file called .json.
        if text.lstrip().startswith("{") and getattr(error, "msg", "") == "Extra data":
            return (yield from _jsonl(path, shown))
        whole = _parse(text, shown, 1)
    held = [name for name in ("data", "train") if isinstance(whole, dict) and isinstance(whole.get(name), list)]
    if not held and not isinstance(whole, list):
        yield _row(whole, f"{shown}:1")
        return
    line, before = 1, 0
    for start, item in _items(text, _start(text, held[0]) if held else text.index("[")):
        line, before = line + text.count("\n", before, start), start
        yield _row(item, f"{shown}:{line}")


def _items(text: str, opening: int) -> Iterator[tuple[int, Any]]:
    """Yield (position, item) of the JSON list that opens at `opening`."""
    position = _skip(text, opening + 1)
    while text[position] != "]":
        item, end = json.JSONDecoder().raw_decode(text, position)
        yield position, item
        position = _skip(text, end)


def _start(text: str, name: str) -> int:
    """Return where the value of `name` starts in the JSON object `text`."""
    found, position = 0, _skip(text, text.index("{") + 1)
    while text[position] != "}":
        key, end = json.JSONDecoder().raw_decode(text, position)
        value = _skip(text, end)
        found = value if key == name else found
        position = _skip(text, json.JSONDecoder().raw_decode(text, value)[1])
    return found


def _skip(text: str, position: int) -> int:
    """Pass blanks, commas and colons; json.loads has checked that they stand where they belong."""
    while text[position] in " \t\r\n,:":
        position += 1
    return position


def _parse(text: str, shown: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise IikataError(f"{shown}:{line + error.lineno - 1}:{error.colno}: not JSON: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise IikataError(f"{shown}:{line}: JSON that cannot be read: {error}.") from None


def _row(row: Any, place: str) -> Row:
    if isinstance(row, dict):
        return place, row
    raise IikataError(f"{place}: a row is an object with named fields, not {json.dumps(row)[:40]}.")


def _csv(path: Path, shown: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(read_text(path, shown), newline=""), strict=True)
    names: list[str] = []
    end = 0
    try:
        for fields in reader:
            # A quoted field may hold line breaks: the row starts after the end of the row before.
            place, end = f"{shown}:{end + 1}", reader.line_num
            if names and fields and len(fields) != len(names):
                raise IikataError(f"{place}: {len(fields)} fields; the first line names {len(names)}.")
            if names and fields:
                yield place, dict(zip(names, fields, strict=True))
            names = names or fields
            if len(set(names)) < len(names):
                raise IikataError(f"{shown}:1: a column's name stands twice: {', '.join(names)}.")
    except csv.Error as error:
        raise IikataError(f"{shown}:{reader.line_num}: not CSV: {error}.") from None


def _parquet(path: Path, shown: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{shown}:{number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise IikataError(f"{shown}: not a parquet file that can be read: {error}.") from None


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
