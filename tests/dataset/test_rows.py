"""Every format gives the same rows, each with its place, or one error that names file and line."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from iikata.dataset.rows import READERS, read_rows
from iikata.errors import IikataError
from iikata.experiment import SUFFIXES

ROWS = [
    {"instruction": "色は？", "input": "", "output": "赤\r\n青"},
    {"instruction": 'say "a", b', "input": "x\u2028y", "output": "\x07"},
]
JSON = [json.dumps(row, ensure_ascii=False) for row in ROWS]


def write_csv(path):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)


WRITERS = {
    ".jsonl": lambda path: path.write_text("\n\n".join(JSON) + "\n", encoding="utf-8"),
    ".json": lambda path: path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8"),
    ".csv": write_csv,
    ".parquet": lambda path: pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path),
}
LINES = {".jsonl": [1, 3], ".json": [2, 7], ".csv": [2, 4], ".parquet": [1, 2]}


@pytest.mark.parametrize("suffix", READERS)
def test_every_format_gives_the_same_rows_with_their_lines(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    WRITERS[suffix](path)
    assert list(read_rows(path, "r")) == [(f"r:{line}", row) for line, row in zip(LINES[suffix], ROWS, strict=True)]


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
    assert list(read_rows(path, "r")) == [("r:1", ROWS[0]), ("r:2", ROWS[1])]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": }\n', "a.jsonl:2:7: not JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "a.jsonl:2: a row is an object"),
        ("a.json", b'[{"a": 1},\n {"a" 1}]', "a.json:2:7: not JSON"),
        ("a.json", b"3", "a.json:1: a row is an object"),
        ("a.json", b"[" * 100_000, "a.json:1: JSON that cannot be read"),
        ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", "a.jsonl:1: JSON that cannot be read"),
        ("a.jsonl", b'{}\n{"a": "\x93\xfa\x96{"}', "a.jsonl:2:8: not UTF-8 (it can be read as cp932)"),
        ("a.csv", b'a,b\n1,2\n"x\ny",2\n1,2,3\n', "a.csv:5: 3 fields; the first line names 2"),
        ("a.csv", b'a,b\n"1,2\n', "not CSV"),
        ("a.csv", b"a,a\n1,2\n", 'a.csv:1: the column "a" stands twice'),
        ("a.parquet", b"PAR1", "a.parquet: not a parquet file"),
        ("a.txt", b"x", "a.txt: rows are read from files that end in .json"),
    ],
)
def test_broken_file_is_named_with_its_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(IikataError) as caught:
        list(read_rows(tmp_path / name, name))
    assert message in str(caught.value)


def test_missing_file_is_told_with_one_that_is_spelled_alike(tmp_path):
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(IikataError, match=r'^trian.jsonl: no such file \(did you mean "train.jsonl"\?\).$'):
        read_rows(tmp_path / "trian.jsonl", "trian.jsonl")
