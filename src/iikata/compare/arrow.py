"""Read a large file of score lines by columns; whatever is unusual is left to the reader that tells lines."""

import io
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from iikata.compare.reading import LARGEST, LONGEST, OPTIONAL, REQUIRED, is_text
from iikata.compare.table import NAMED, ScoreTable, TableWriter

BLOCK = 1 << 24
NUMBERS = {"seed": pa.int64(), "sample": pa.int64(), "value": pa.float64()}
SCHEMA = pa.schema([(name, NUMBERS.get(name, pa.string())) for name in (*REQUIRED, *OPTIONAL)])


def read_columns(path: Path) -> ScoreTable | None:
    """Return the file's table, or None where any line is bad, blank or torn."""
    writer = TableWriter()
    try:
        for block in _blocks(path):
            columns = _columns(block)
            if columns is None or not _add(writer, columns):
                return None
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    writer.line = array("q", range(1, len(writer.value) + 1))
    return writer.table(str(path))


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield whole lines, about BLOCK bytes at a time."""
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(BLOCK):
            head, newline, tail = chunk.rpartition(b"\n")
            if newline:
                yield rest + head + newline
            rest = tail if newline else rest + chunk
            if len(rest) > LONGEST:
                raise pa.ArrowInvalid("a line too long")
    if rest:
        yield rest + b"\n"


def _columns(block: bytes) -> dict[str, Any] | None:
    """Return the block's columns, or None where a line lacks a field that other lines have."""
    options = pa.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")
    table = pa.json.read_json(io.BytesIO(block), parse_options=options)
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    if np.diff(ends, prepend=-1).max() > LONGEST:
        return None
    lines = len(ends)
    # A field that is missing and one that is null look alike in a column; the text tells them apart.
    named = {name: block.count(f'"{name}"'.encode()) for name in SCHEMA.names}
    whole = {table.num_rows, *(named[name] for name in REQUIRED)} == {lines}
    if not whole or any(named[name] not in (0, lines) for name in OPTIONAL):
        return None
    columns = {name: table[name].combine_chunks() for name in SCHEMA.names}
    filled = ("prompted_with", "probe", "metric", *(["sample"] if named["sample"] else []))
    return None if any(columns[name].null_count for name in filled) else columns


def _add(writer: TableWriter, columns: dict[str, Any]) -> bool:
    """Append a block; False where a value is one that the line reader refuses."""
    columns["cluster"] = pc.coalesce(pc.replace_with_mask(*_empty(columns["cluster"])), columns["probe"])
    columns["signature"] = columns["signature"].fill_null("")
    coded = {
        name: columns[name].dictionary_encode("encode") for name in SCHEMA.names if name not in ("sample", "value")
    }
    index = {name: c.indices.to_numpy() for name, c in coded.items()}
    words = {name: c.dictionary.to_pylist() for name, c in coded.items()}
    sample = columns["sample"].fill_null(0).to_numpy()
    value = columns["value"].to_numpy(zero_copy_only=False)
    cells, index["cell"] = _cells(index, words)
    words["cell"] = cells
    bad = sample.min() < 0 or (np.abs(value) > LARGEST).any()
    if bad or any(s is not None and (t is None or s < 0) for t, s, _ in cells):
        return False
    named = [words[name] for name in ("trained_on", "prompted_with", "probe", "metric")]
    if any("" in known for known in named) or not all(
        map(is_text, chain(*named, words["cluster"], words["signature"]))
    ):
        return False
    for name in NAMED:
        codes = np.array([writer.code(name, word) for word in words[name]], dtype=np.int32)
        writer.codes[name].frombytes(codes[index[name]].tobytes())
    writer.sample.frombytes(sample.astype(np.int64).tobytes())
    writer.value.frombytes(value.tobytes())
    return True


def _empty(column: Any) -> tuple[Any, Any, Any]:
    return column, pc.fill_null(pc.equal(column, ""), False), pa.scalar(None, pa.string())


def _cells(index: dict[str, np.ndarray], words: dict[str, list]) -> tuple[list[tuple], np.ndarray]:
    """Return the block's (trained_on, seed, prompted_with) in order of appearance, and each line's place there."""
    parts = ("trained_on", "seed", "prompted_with")
    key = np.ravel_multi_index([index[n] for n in parts], [len(words[n]) for n in parts])
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    return [tuple(words[n][index[n][i]] for n in parts) for i in first[order]], place[inverse]
