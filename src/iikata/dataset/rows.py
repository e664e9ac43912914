"""Read the rows of a json, jsonl, csv or parquet file, each with the place it came from."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iikata.disk import parse_json
from iikata.errors import IikataError
from iikata.experiment import read_text, size

Row = tuple[str, dict[str, Any]]
"""`file:line` and the fields."""
MOST_BYTES = 2_000_000_000
"""Of a file that is read as one text; parquet is read in parts."""
A_ROW = 'Each row is an object, as in {"instruction": "...", "output": "..."}'


def read_rows(path: Path, shown: str) -> Iterator[Row]:
    """Yield the rows of `path`; `shown` is the file's name in places and errors.

    Raises IikataError where the file is missing, broken or endless, or its ending is none of READERS.
    """
    size(path, shown)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise IikataError(f"{shown}: rows are read from files that end in {', '.join(READERS)}.")
    return reader(path, shown)


def _jsonl(path: Path, shown: str) -> Iterator[Row]:
    return _lines(_text(path, shown), shown)


def _lines(text: str, shown: str) -> Iterator[Row]:
    # Not splitlines(): U+2028 and the like may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                raise _not_json(error, shown, number, f"{A_ROW}, on a line of its own.") from None
            yield _row(row, f"{shown}:{number}")


def _json(path: Path, shown: str) -> Iterator[Row]:
    text = _text(path, shown)
    try:
        whole = parse_json(text)
    except ValueError as error:
        # Many data sets keep JSON Lines in a file called .json.
        if text.lstrip().startswith("{") and getattr(error, "msg", "") == "Extra data":
            return (yield from _lines(text, shown))
        raise _not_json(error, shown, 1, f"{A_ROW}, in a list or on a line of its own.") from None
    held = [name for name in ("data", "train") if isinstance(whole, dict) and isinstance(whole.get(name), list)]
    if not held and not isinstance(whole, list):
        yield _row(_value(text, _skip(text, 0), f"{shown}:1")[0], f"{shown}:1")
        return
    for place, item in _items(text, _start(text, held[0], shown) if held else text.index("["), shown):
        yield _row(item, place)


def _items(text: str, opening: int, shown: str) -> Iterator[tuple[str, Any]]:
    """Yield (place, item) of the JSON list that opens at `opening`."""
    line, before, position = 1, 0, _skip(text, opening + 1)
    while text[position] != "]":
        line, before = line + text.count("\n", before, position), position
        item, end = _value(text, position, f"{shown}:{line}")
        yield f"{shown}:{line}", item
        position = _skip(text, end)


def _start(text: str, name: str, shown: str) -> int:
    """Return where the value of `name` starts in the JSON object `text`."""
    found, position = 0, _skip(text, text.index("{") + 1)
    while text[position] != "}":
        key, end = _value(text, position, shown)
        value = _skip(text, end)
        found = value if key == name else found
        position = _skip(text, _value(text, value, shown)[1])
    return found


def _skip(text: str, position: int) -> int:
    """Pass blanks, commas and colons; parse_json has checked that they stand where they belong."""
    while text[position] in " \t\r\n,:":
        position += 1
    return position


def _value(text: str, position: int, place: str) -> tuple[Any, int]:
    """Return the JSON value at `position` and where it ends."""
    try:
        return DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        raise _not_read(error, place, f"{A_ROW}.") from None


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice:.60}" stands twice')
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_fields)


def _not_json(error: Exception, shown: str, line: int, cure: str) -> IikataError:
    if isinstance(error, json.JSONDecodeError):
        return IikataError(f"{shown}:{line + error.lineno - 1}:{error.colno}: not JSON: {error.msg}. {cure}")
    return _not_read(error, f"{shown}:{line}", cure)


def _not_read(error: Exception, place: str, cure: str) -> IikataError:
    why = "nested too deeply" if isinstance(error, RecursionError) else error
    return IikataError(f"{place}: JSON that cannot be read: {why}. {cure}")


def _row(row: Any, place: str) -> Row:
    if isinstance(row, dict):
        return place, row
    raise IikataError(f"{place}: a row is an object with named fields, not {kind_of(row)}. {A_ROW}.")


def kind_of(value: Any) -> str:
    """Return what a value from a file is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float) and math.isinf(value):
        return "an infinite number"
    kinds = {dict: "an object", list: "a list", str: "text", bytes: "bytes", int: "a number", float: "a number"}
    return kinds.get(type(value), "null" if value is None else type(value).__name__)


def _csv(path: Path, shown: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(_text(path, shown), newline=""), strict=True)
    names: list[str] = []
    end = 0
    try:
        for fields in reader:
            # A quoted field may hold line breaks: the row starts after the end of the row before.
            place, end = f"{shown}:{end + 1}", reader.line_num
            if not names:
                names = _names(fields, place)
            elif fields and len(fields) != len(names):
                cure = "Put text that holds a comma or a quote in quotes."
                raise IikataError(f"{place}: {len(fields)} fields; the first line names {len(names)}. {cure}")
            elif fields:
                yield place, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        cure = "Text in quotes ends with a quote, and a quote within it is written twice."
        raise IikataError(f"{shown}:{end + 1}: not CSV: {error}. {cure}") from None


def _names(names: list[str], place: str) -> list[str]:
    """Return the names of a table's columns; raises IikataError where one stands twice."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise IikataError(f'{place}: the column "{twice:.60}" stands twice; rename one.')
    return names


def _parquet(path: Path, shown: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _names(file.schema_arrow.names, shown)
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{shown}:{number}", row
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, OverflowError, TypeError) as error:
        # pyarrow's own errors, and Python's for text that is no UTF-8 and times that it cannot hold.
        why = " ".join(str(error).split())
        raise IikataError(
            f"{shown}: not a parquet file that can be read (after {number} rows: {why:.200}). "
            "Write it anew, or as jsonl."
        ) from None


def _text(path: Path, shown: str) -> str:
    return read_text(path, shown, MOST_BYTES)


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
