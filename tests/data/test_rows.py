"""Every format gives the same rows, each with its place, or one error that names file and line."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from iikata.config import SUFFIXES
from iikata.core.errors import IikataError
from iikata.data.rows import READERS, read_rows

ROWS = [
    {"instruction": "色は？", "input": "", "output": "赤\r\n青"},
    {"instruction": 'say "a", b', "input": "x\u2028y", "output": "\x07"},
]
JSON = [json.dumps(row, ensure_ascii=False) for row in ROWS]


def write_csv(path, delimiter=",", encoding="utf-8", before=""):
    with path.open("w", encoding=encoding, newline="") as file:
        file.write(before)
        writer = csv.DictWriter(file, ROWS[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def write_lines(path):
    path.write_text("\n\n".join(JSON) + "\n", encoding="utf-8")


WRITERS = {
    ".jsonl": write_lines,
    ".ndjson": write_lines,
    ".tsv": lambda path: write_csv(path, "\t"),
    ".json": lambda path: path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8"),
    ".csv": write_csv,
    ".parquet": lambda path: pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path),
}
PLACES = {
    **dict.fromkeys([".jsonl", ".ndjson"], ("r:1", "r:3")),
    **dict.fromkeys([".csv", ".tsv"], ("r:2", "r:4")),
    **dict.fromkeys([".json", ".parquet"], ("r: row 1", "r: row 2")),
}


@pytest.mark.parametrize("suffix", READERS)
def test_every_format_gives_the_same_rows_with_their_places(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    WRITERS[suffix](path)
    assert list(read_rows(path, "r")) == list(zip(PLACES[suffix], ROWS, strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("declared", [False, True])
def test_csv_of_a_spreadsheet_is_read_whatever_separates_its_columns(tmp_path, delimiter, encoding, declared):
    path = tmp_path / "rows.csv"
    write_csv(path, delimiter, encoding, f"sep={delimiter}\r\n" if declared else "")
    lines = (3, 5) if declared else (2, 4)
    assert list(read_rows(path, "r")) == [(f"r:{line}", row) for line, row in zip(lines, ROWS, strict=True)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a;b,c\n1;2,3\n", [{"a;b": "1;2", "c": "3"}]),
        ('a, "b"\n1, "x, y"\n', [{"a": "1", "b": "x, y"}]),
        ("a,b,,\n1,2,,\n,,,\n", [{"a": "1", "b": "2"}, {"a": "", "b": ""}]),
        ("a,b\n1942.0,1.0\n,2.5\n", [{"a": "1942", "b": "1.0"}, {"a": "", "b": "2.5"}]),
        ("a,b\n3.0,1.0\n2.0,\n", [{"a": "3.0", "b": "1"}, {"a": "2.0", "b": ""}]),
        ('"a; b; c",d\n1,2\n', [{"a; b; c": "1", "d": "2"}]),
    ],
    ids=["comma wins a tie", "blanks after commas", "empty columns", "nullable", "all there", "others in quotes"],
)
def test_csv_is_read_as_it_was_meant(tmp_path, text, rows):
    (tmp_path / "rows.csv").write_text(text)
    assert [fields for _, fields in read_rows(tmp_path / "rows.csv", "r")] == rows


def test_readers_are_those_that_the_experiment_takes_for_files():
    assert tuple(READERS) == SUFFIXES["data"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(JSON),
        "\ufeff" + "\r\n".join(JSON),
        '{"info": {"data": [1]}, "data": [' + ",\n".join(JSON) + "]}",
        '{"train": [' + ",\n".join(JSON) + '], "n": 2}',
    ],
    ids=["lines", "mark and windows lines", "data", "train"],
)
def test_json_file_may_hold_lines_or_a_list_under_data_or_train(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_bytes(text.encode())
    places = ("r:1", "r:2") if text.lstrip("\ufeff").startswith(JSON[0]) else ("r: row 1", "r: row 2")
    assert list(read_rows(path, "r")) == list(zip(places, ROWS, strict=True))


def test_missing_file_is_told_with_one_that_is_spelled_alike(tmp_path):
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(
        IikataError, match=r'^trian.jsonl: no such file \(did you mean "train.jsonl"\?\)\. Name another file\.$'
    ):
        read_rows(tmp_path / "trian.jsonl", "trian.jsonl")
