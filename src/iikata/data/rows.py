"""Read the rows of a json, jsonl, csv, tsv or parquet file, each with the place it came from."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.files import read_text, size
from iikata.core.io import parse_user_json
from iikata.core.registry import Shelf, called_with

Row = tuple[str, dict[str, Any]]
"""`file:line` (in files without lines `file: row 17`) and the fields."""
MOST_BYTES = 2_000_000_000
"""Of a file that is read as one text; parquet is read in parts."""
A_ROW = 'Each row is an object, as in {"instruction": "...", "output": "..."}'
YIELDS = "It yields pairs: a row's place, a text as rows.toml: row 3, and its fields, a dict"
SHEETS = (".xls", ".xlsx", ".xlsm", ".ods")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a vertical bar"}
"""What separates columns: the one that is there most often in the line of names, outside quotes; under a single
name a tab in .tsv, a comma elsewhere."""


def read_rows(path: Path, shown: str) -> Iterator[Row]:
    """Yield the rows of `path`; `shown` is the file's name in places and errors.

    Raises IikataError where the file is missing, broken or endless, or its ending is none of READERS.
    """
    size(path, shown)
    suffix = path.suffix.lower()
    if suffix not in READERS.names():
        sheet = f' Save the sheet as "CSV UTF-8" and name {path.stem}.csv.' * (suffix in SHEETS)
        fix = sheet or f" Unpack it first, and name {path.stem}." * (suffix in PACKED)
        raise IikataError(f"{shown}: rows are read from files that end in {', '.join(READERS.names())}.{fix}")
    rows: Iterator[Row] = READERS.find(suffix)(path, shown)
    return rows if suffix in READERS else _checked(suffix, rows)


def _checked(suffix: str, rows: Any) -> Iterator[Row]:
    """Yield the rows of a reader from elsewhere."""
    if not isinstance(rows, Iterable):
        raise READERS.refused(suffix, f"returned {rows!r:.100}", YIELDS)
    for row in rows:
        if not (isinstance(row, tuple) and list(map(type, row)) == [str, dict]):
            raise READERS.refused(suffix, f"yielded {row!r:.100}", YIELDS)
        yield row


def _jsonl(path: Path, shown: str) -> Iterator[Row]:
    return _lines(read_text(path, MOST_BYTES, shown), shown)


def _lines(text: str, shown: str) -> Iterator[Row]:
    # Not splitlines(): U+2028 and the like may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _row(parse_user_json(line, shown, f"{A_ROW}, on a line of its own.", number), f"{shown}:{number}")


def _json(path: Path, shown: str) -> Iterator[Row]:
    text = read_text(path, MOST_BYTES, shown)
    try:
        whole = parse_user_json(text, shown, f"{A_ROW}, in a list or on a line of its own.")
    except IikataError as error:
        # Many data sets keep JSON Lines in a file called .json.
        if text.lstrip().startswith("{") and "Extra data" in str(error):
            return (yield from _lines(text, shown))
        raise
    held = [whole[name] for name in ("data", "train") if isinstance(whole, dict) and isinstance(whole.get(name), list)]
    rows = held[0] if held else whole if isinstance(whole, list) else [whole]
    for number, row in enumerate(rows, start=1):
        yield _row(row, f"{shown}: row {number}")


def _row(row: Any, source: str) -> Row:
    if isinstance(row, dict):
        return source, row
    raise IikataError(f"{source}: a row is an object with named fields, not {kind_of(row)}. {A_ROW}.")


def kind_of(value: Any) -> str:
    """Return what a value from a file is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float) and math.isinf(value):
        return "an infinite number"
    kinds = {
        dict: "an object",
        list: "a list of values",
        str: "plain text",
        bytes: "bytes",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null" if value is None else type(value).__name__)


def _csv(path: Path, shown: str) -> Iterator[Row]:
    text = read_text(path, MOST_BYTES, shown)
    if text.lstrip().startswith(('{"', "[{")):
        raise IikataError(f"{shown}:1: this is JSON, not CSV. Rename the file: {path.stem}.json")
    header, line = text.partition("\n")[0], 1
    if declared := re.fullmatch(r'"?sep=(.)"?\r?', header):  # Excel's own first line
        text, header = text.partition("\n")[2], text.split("\n", 2)[1] if "\n" in text else ""
        line = 2
    bare = re.sub('"[^"]*"', "", header)
    known = sorted(DELIMITERS, key=lambda one: one == "\t", reverse=path.suffix.lower() == ".tsv")
    delimiter = declared[1] if declared else max(known, key=bare.count)
    # Where names have a blank before them, so have quotes, which would otherwise be read as text.
    blank = f"{delimiter} " in bare and delimiter != "\t"
    csv.field_size_limit(2**31 - 1)
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, strict=True, delimiter=delimiter, skipinitialspace=blank)
    lines = []
    try:
        for fields in reader:
            # A quoted field may hold line breaks: the row starts after the end of the row before.
            lines.append((f"{shown}:{line}", fields))
            line = reader.line_num + (2 if declared else 1)
    except csv.Error as error:
        fix = "Text in quotes ends with a quote, and a quote within it is written twice."
        raise IikataError(f"{shown}:{line}: not CSV: {error}. {fix}") from None
    return _table([(source, fields) for source, fields in lines if fields], delimiter)


def _table(lines: list[tuple[str, list[str]]], delimiter: str) -> Iterator[Row]:
    """Yield the rows of a table whose first line has the names."""
    if not lines:
        return
    (at, names), *rows = lines
    for source, fields in rows:
        if len(fields) != len(names):
            fix = f"Put text that holds {DELIMITERS.get(delimiter, delimiter)} or a quote in quotes."
            raise IikataError(f"{source}: {len(fields)} fields; the first line names {len(names)}. {fix}")
    columns = [(name.strip(), _whole([fields[i] for _, fields in rows])) for i, name in enumerate(names)]
    # A spreadsheet writes empty columns without a name.
    columns = [(name, column) for name, column in columns if name or any(column)]
    _refuse_twins([name for name, _ in columns], at)
    for number, (source, _) in enumerate(rows):
        yield source, {name: column[number] for name, column in columns}


def _whole(column: list[str]) -> list[str]:
    """Return the column without ".0" where it is of whole numbers, some missing: pandas writes 1942 so."""
    filled = [text for text in column if text]
    if 0 < len(filled) < len(column) and all(re.fullmatch(r"-?\d+\.0", text) for text in filled):
        return [text.removesuffix(".0") for text in column]
    return column


def _refuse_twins(names: list[str], source: str) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise IikataError(f'{source}: the column "{twice:.60}" is there twice; rename one.')


def _parquet(path: Path, shown: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _refuse_twins(file.schema_arrow.names, shown)
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{shown}: row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, OverflowError, TypeError) as error:
        # pyarrow's own errors, and Python's for text that is no UTF-8 and times that it cannot hold.
        why = " ".join(str(error).split())
        raise IikataError(
            f"{shown}: not a parquet file that can be read (after {number} rows: {why:.200}). "
            "Write it again, or as jsonl."
        ) from None


READERS: Shelf[Callable[[Path, str], Iterator[Row]]] = Shelf(
    "reader",
    {".json": _json, ".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet},
    called_with("path", "shown"),
    "a function of a path and of the file's name in errors, which yields rows",
)
"""By the ending of a file's name; a package adds to them under `iikata.readers`, as `.xlsx = package.module:name`."""
