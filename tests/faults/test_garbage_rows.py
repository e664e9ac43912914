"""Broken data is refused at its file and line with the cure, before anything is written."""

import json
import os

import pyarrow
import pyarrow.parquet
import pytest
from refusal import files_in, refused

from iikata.config import DataSettings
from iikata.core.errors import IikataError
from iikata.data import read
from tiny_experiment import write_files

ROW = {"instruction": "Name a colour.", "input": "", "output": "Red."}
GOOD = json.dumps(ROW)
JSONL_CURE = "on a line of its own"
COMMANDS = (["run"], ["check"], ["plan"], ["encode"], ["encode", "--json"])


def lines(*rows) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def with_output(value) -> str:
    return lines(GOOD, ROW | {"output": value})


def parquet(**columns) -> bytes:
    """Return a parquet file of these columns, and the instruction."""
    return of_table(pyarrow.table({"instruction": ["Name a colour."], **columns}))


def of_table(table: pyarrow.Table) -> bytes:
    written = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, written)
    return written.getvalue().to_pybytes()


WHOLE = parquet(output=["Red."])
BAD_TEXT = pyarrow.array([b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string())
TWICE = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, ["instruction", "output", "output"])

FILES = {
    "empty.jsonl": ("", "0 rows were read from rows.jsonl", "Give more rows"),
    "empty.json": ("", "rows.json:1:1: not JSON", "in a list or on a line of its own"),
    "empty.csv": ("", "0 rows were read from rows.csv", "Give more rows"),
    "blank_lines.jsonl": ("\n  \n\t\n\r\n", "0 rows were read", "Give more rows"),
    "only_a_header.csv": ("instruction,input,output\n", "0 rows were read", "Give more rows"),
    "empty_list.json": ("[]", "0 rows were read from rows.json", "Give more rows"),
    "torn.jsonl": (lines(GOOD) + GOOD[:30], "rows.jsonl:2:17: not JSON", JSONL_CURE),
    "torn.json": (f"[{GOOD},\n{GOOD[:-5]}", "rows.json:2:", "not JSON", "in a list"),
    "torn.csv": ('instruction,output\na,b\nc,"d\ne', "rows.csv:3: not CSV", "ends with a quote"),
    "torn.parquet": (WHOLE[:-20], "rows.parquet: not a parquet file", "Write it again"),
    "garbage.parquet": (b"PAR1" + b"\xff" * 200 + b"PAR1", "rows.parquet: not a parquet file", "as jsonl"),
    "no_utf8.parquet": (parquet(output=BAD_TEXT), "rows.parquet: not a parquet file", "as jsonl"),
    "bytes.parquet": (parquet(output=[b"Red."]), "rows.parquet: row 1: output: bytes was seen", "Write it as text"),
    "nested.parquet": (
        parquet(output=[["Red."]]),
        "rows.parquet: row 1: output: a list of values was seen",
        "Write it as text",
    ),
    "column_twice.parquet": (of_table(TWICE), 'rows.parquet: the column "output" is there twice', "rename one"),
    "late.parquet": (
        parquet(output=pyarrow.array([2**62], pyarrow.timestamp("us"))),
        "rows.parquet: not a parquet file that can be read (after 0 rows",
        "as jsonl",
    ),
    "utf16_unmarked.jsonl": (
        lines(GOOD).encode("utf-16-le"),
        "rows.jsonl:1:1: not UTF-8 (it can be read as utf-16-le)",
    ),
    "iso2022.csv": (
        "instruction,output\n色は？,赤\n".encode("iso2022_jp"),
        "(it can be read as iso-2022-jp)",
        "save it",
    ),
    "euc_jp.csv": ("instruction,output\n色は？,赤\n".encode("euc_jp"), "(it can be read as euc-jp)", "iconv -f euc-jp"),
    "utf16_torn.jsonl": (lines(GOOD).encode("utf-16")[:-1], "not UTF-16", "save it as UTF-8"),
    "encrypted.parquet": (WHOLE[:-4] + b"PARE", "rows.parquet: not a parquet file", "as jsonl"),
    "packed.jsonl.gz": (b"\x1f\x8b", "files that end in .json", "Unpack it first, and name rows"),
    "excel.xlsx": (b"PK\x03\x04", "rows are read from files that end in .json", 'Save the sheet as "CSV UTF-8"'),
    "shift_jis.jsonl": (
        lines(GOOD, '{"instruction": "色は？"}').encode("cp932"),
        "rows.jsonl:2:18: not UTF-8 (it can be read as cp932)",
        "save it as UTF-8",
    ),
    "torn_character.jsonl": (lines('{"a": "赤"}').encode()[:-4], "rows.jsonl:1:8: not UTF-8", "save it as UTF-8"),
    "python.jsonl": (lines(GOOD, str(ROW)), "rows.jsonl:2:2: not JSON", JSONL_CURE),
    "two_a_line.jsonl": (lines(GOOD + GOOD), f"rows.jsonl:1:{len(GOOD) + 1}: not JSON: Extra data", JSONL_CURE),
    "list.jsonl": (f"[\n{GOOD}\n]\n", "rows.jsonl:1:2: not JSON", JSONL_CURE),
    "list_rows.jsonl": (lines(GOOD, "[1, 2]"), "rows.jsonl:2: a row is an object with named fields, not a list"),
    "null_row.json": (f"[{GOOD},\n\nnull]", "rows.json: row 2: a row is an object with named fields, not null"),
    "number.json": ("3", "rows.json: row 1: a row is an object with named fields, not a number"),
    "mixed_lines.json": (f"{GOOD}\n[{GOOD}]", "rows.json:2: a row is an object", "not a list"),
    "jsonl_in.csv": (lines(ROW, ROW), "rows.csv:1: this is JSON, not CSV", "rows.json"),
    "deep.json": ("[" * 100_000, "rows.json:1: not JSON: nested too deeply", "in a list"),
    "deep_line.jsonl": (lines(GOOD, '{"a":' * 5000 + "1" + "}" * 5000), "rows.jsonl:2: not JSON"),
    "key_twice.jsonl": (
        lines(GOOD, '{"instruction": "a", "output": "b", "output": "c"}'),
        'rows.jsonl:2: not JSON: the key "output" is there twice',
    ),
    "key_twice.json": (
        f'[{GOOD},\n{{"output": "b", "output": "c"}}]',
        "rows.json:2: not JSON",
        '"output" is there twice',
    ),
    "digits.jsonl": (lines(GOOD, f'{{"a": {"1" * 5000}}}'), "rows.jsonl:2: not JSON", JSONL_CURE),
    "infinite.jsonl": (with_output(float("inf")), "rows.jsonl:2: output: an infinite number was seen", "as text"),
    "list_output.jsonl": (with_output(["Red."]), "rows.jsonl:2: output: a list of values was seen", "text or a number"),
    "true_output.jsonl": (with_output(True), "rows.jsonl:2: output: true or false was seen", "Write it as text"),
    "deep_output.jsonl": (
        lines(GOOD.replace('"Red."', "[" * 900 + "]" * 900)),
        "rows.jsonl:1: output: a list of values was seen",
        "Write it as text",
    ),
    "only_empty.jsonl": (
        lines(ROW | {"output": " "}, ROW | {"output": None}),
        "2 seen as lacking a question or an answer",
        "Give more rows",
    ),
    "only_nan.jsonl": (
        with_output(float("nan")).splitlines()[1],
        "1 seen as lacking a question or an answer",
        "Give more rows",
    ),
    "only_surrogates.jsonl": (lines(ROW | {"output": "\ud800"}), "1 seen as no text in UTF-8", "Give more rows"),
    "no_column.jsonl": (
        lines({"query": "a", "answer": "b"}),
        'rows.jsonl:1: no column "instruction", "output"',
        "columns: {instruction: query, input: input, output: answer}",
    ),
    "no_column_later.jsonl": (lines(GOOD, {"instruction": "a"}), 'rows.jsonl:2: no column "output"', "columns:"),
    "case.csv": ("Instruction,Output\na,b\n", 'rows.csv:2: no column "instruction" (did you mean "Instruction"?)'),
    "no_header.csv": ("Name a colour.,Red.\nName another.,Blue.\n", "rows.csv:2: no column", "found: Name a colour."),
    "column_twice.csv": (
        "output,instruction,output\na,b,c\n",
        'rows.csv:1: the column "output" is there twice',
        "rename",
    ),
    "more_fields.csv": (
        "instruction,output\na,b\nc,d, e\n",
        "rows.csv:3: 3 fields; the first line names 2",
        "in quotes",
    ),
    "fewer_fields.csv": ("instruction,output\na\n", "rows.csv:2: 1 fields; the first line names 2", "in quotes"),
    "lines_in_quotes.csv": ('a,b\n1,2\n"x\ny",2\n1,2,3\n', "rows.csv:5: 3 fields; the first line names 2", "in quotes"),
    "loose_quote.csv": ('instruction,output\n"a"b,c\n', "rows.csv:2: not CSV", "a quote within it is written twice"),
    "unknown.txt": (lines(GOOD), "rows.txt: rows are read from files that end in .json, .jsonl, .ndjson, .csv, .tsv"),
}


@pytest.fixture
def refuse(tmp_path, monkeypatch, llama_folder, capsys, tally):
    """Refuse an experiment over this data, and see that nothing was written by it."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)

    def _refuse(name, command, *said, validation=0):
        settings = f"model: {{base: {llama_folder}}}\ndata: {{train: ./{name}, validation: {validation}}}\n"
        (tmp_path / "exp.yaml").write_text(settings + "templates: [alpaca_short, plain]\nprobes: probes.jsonl\n")
        kept = [path for path in tmp_path.iterdir() if path.is_fifo()]  # reading one waits for ever
        before = {} if kept else files_in(tmp_path)
        tally("inputs tried")
        refused([command[0], "exp.yaml", *command[1:]], capsys, str(validation or name), *said)
        assert kept or files_in(tmp_path) == before
        assert not (tmp_path / "runs" / "exp").exists()

    return _refuse


@pytest.mark.parametrize("name", FILES)
def test_broken_rows_are_refused_at_their_line(tmp_path, refuse, name):
    content, *said = FILES[name]
    file = f"rows.{name.rpartition('.')[2]}"
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse(file, COMMANDS[len(name) % len(COMMANDS)], *[words.replace(" rows.", " ./rows.", 1) for words in said])


@pytest.mark.parametrize("name", ["torn.jsonl", "column_twice.csv", "torn.parquet"])
def test_broken_validation_file_is_refused_as_training_rows_are(tmp_path, refuse, name):
    content, *said = FILES[name]
    file = f"rows.{name.rpartition('.')[2]}"
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse("train.jsonl", ["check"], *said, validation=file)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: path.mkdir(), ["a folder where", "Name another file"]),
        (os.mkfifo, ["a pipe or a device", "save it first"]),
        (lambda path: path.symlink_to("/dev/zero"), ["a pipe or a device", "save it first"]),
        (lambda path: path.symlink_to(path), ["cannot be read", "Name another file"]),
        (lambda path: path.symlink_to("gone"), ["a link to gone", "Name another file"]),
    ],
    ids=["folder", "pipe", "zero", "link_to_itself", "link_to_nothing"],
)
def test_what_is_no_file_is_refused_at_once(tmp_path, refuse, made, said):
    made(tmp_path / "rows.jsonl")
    refuse("rows.jsonl", ["check"], *said)


def test_file_larger_than_any_memory_is_refused_unread(tmp_path, tally):
    tally("inputs tried")
    with (tmp_path / "rows.jsonl").open("wb") as file:
        file.truncate(50_000_000_000)  # a hole: no disk is used
    with pytest.raises(IikataError, match=r"rows\.jsonl: larger than 2,000,000,000 bytes"):
        read(DataSettings(train="rows.jsonl"), tmp_path)


def test_line_of_ten_megabytes_is_read(tmp_path, tally):
    tally("inputs tried")
    (tmp_path / "rows.jsonl").write_text(lines(ROW | {"output": "x" * 10_000_000}))
    (row,) = read(DataSettings(train="rows.jsonl", validation=0), tmp_path).train
    assert len(row.output) == 10_000_000


def test_what_looks_broken_and_is_not_is_read(tmp_path, tally):
    tally("inputs tried")
    text = "\ufeff" + lines(GOOD, "", ROW | {"output": 3.5, "meta": {"a": [1]}}).replace("\n", "\r\n")
    (tmp_path / "rows.jsonl").write_bytes(text.encode())
    assert [row.output for row in read(DataSettings(train="rows.jsonl", validation=0), tmp_path).train] == [
        "Red.",
        "3.5",
    ]
