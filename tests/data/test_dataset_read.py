"""Rows become examples; what is left out is counted; training and validation share nothing."""

import json
import sys
import types
from datetime import date, datetime
from decimal import Decimal

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from iikata.config import DataSettings
from iikata.core.errors import IikataError
from iikata.data import LeftOut, read


@pytest.fixture
def data(tmp_path):
    """Write rows to tmp_path and read them as an experiment would."""

    def _data(rows, name="rows.jsonl", **settings):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read(DataSettings(**{"train": name, "validation": 0, **settings}), tmp_path)

    return _data


def row(n, **fields):
    return {"instruction": f"q{n}", "input": "", "output": f"a{n}", **fields}


def test_dolly_and_alpaca_rows_work_as_they_are(data):
    dolly = {"output": "赤", "index": "0", "category": "open_qa", "instruction": "色は？", "input": "三原色"}
    alpaca = {"instruction": "Add.", "input": "", "output": "2", "text": "Below is ..."}
    first, second = data([dolly, alpaca]).train
    assert (first.instruction, first.input, first.output) == ("色は？", "三原色", "赤")
    assert (second.instruction, second.input, second.source) == ("Add.", "", "rows.jsonl:2")


def test_null_and_nan_are_empty_and_numbers_are_text(data):
    rows = [row(1, input=None), row(2, input=float("nan")), {"instruction": "1+1", "output": 2}]
    assert [(r.input, r.output) for r in data(rows).train] == [("", "a1"), ("", "a2"), ("", "2")]


def test_text_is_kept_as_it_is(data):
    text = " \ttab\x07\r\nｶﾅ　が\u0301 \u2028 "
    assert data([row(1, output=text)]).train[0].output == text


def test_left_out_rows_are_counted_with_their_lines(data):
    rows = [row(1), row(2), row(1, category="again"), row(3, output=" \n"), row(4, output="\ud83d")]
    counts = data([*rows, {"instruction": " ", "output": "x"}, row(2, output="another answer")]).counts
    assert (counts.rows, counts.train, counts.without_input) == (7, 3, 3)
    assert counts.duplicates == LeftOut(1, ("rows.jsonl:3",))
    assert counts.empty == LeftOut(2, ("rows.jsonl:4", "rows.jsonl:6"))
    assert counts.unencodable == LeftOut(1, ("rows.jsonl:5",))


def test_validation_file_takes_its_rows_out_of_training(data, tmp_path):
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in (2, 9, 9)))
    dataset = data([row(1), row(2), row(3)], validation="held.jsonl")
    assert [r.instruction for r in dataset.train] == ["q1", "q3"]
    assert [r.instruction for r in dataset.validation] == ["q2", "q9"]
    assert dataset.counts.overlap == LeftOut(1, ("rows.jsonl:2",))
    assert (dataset.counts.rows, dataset.counts.duplicates.rows) == (6, 1)


@pytest.mark.parametrize(("validation", "count"), [(7, 7), (0.25, None), (0, 0)])
def test_held_out_rows_and_training_rows_are_all_rows_once(data, validation, count):
    dataset = data([row(n % 30) for n in range(40)], validation=validation)
    train, held = ([r.id for r in side] for side in (dataset.train, dataset.validation))
    assert not set(train) & set(held)
    assert len(train) + len(held) == len(set(train + held)) == 30
    assert count is None or len(held) == count


def test_default_holds_out_a_tenth_of_little_data_and_500_of_much(data):
    sizes = [len(data([row(n) for n in range(rows)], validation=None).validation) for rows in (2, 60, 6000)]
    assert sizes == [1, 6, 500]


FRAME = {
    "year": pyarrow.array([1942.0, None, 7.0], pyarrow.float64()),
    "count": pyarrow.array([3, None, 4], pyarrow.int64()),
    "share": pyarrow.array([1.0, 2.5, float("nan")], pyarrow.float64()),
    "day": pyarrow.array([date(2024, 1, 2), None, date(2024, 1, 3)]),
    "night": pyarrow.array([datetime(2024, 1, 2), None, datetime(2024, 1, 3)]),
    "moment": pyarrow.array([datetime(2024, 1, 2, 3, 4), None, datetime(2024, 1, 3)]),
    "price": pyarrow.array([Decimal("1.50"), None, Decimal("2.00")]),
}


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ("year", ["1942", "7"]),
        ("count", ["3", "4"]),
        ("share", ["1.0", "2.5"]),
        ("day", ["2024-01-02", "2024-01-03"]),
        ("night", ["2024-01-02", "2024-01-03"]),
        ("moment", ["2024-01-02 03:04:00", "2024-01-03 00:00:00"]),
        ("price", ["1.50", "2.00"]),
    ],
)
def test_numbers_and_dates_of_a_table_are_trained_as_they_were_meant(tmp_path, column, texts):
    table = pyarrow.table({"instruction": ["a", "b", "c"], "output": FRAME[column]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    dataset = read(DataSettings(train="rows.parquet", validation=0), tmp_path)
    assert [example.output for example in dataset.train] == texts
    assert dataset.counts.empty.rows == 1


def test_whole_numbers_of_json_are_those_and_others_keep_their_point(data):
    assert [r.output for r in data([row(1, output=1942.0), row(2, output=None)]).train] == ["1942"]
    assert [r.output for r in data([row(1, output=2.0), row(2, output=2.5)]).train] == ["2.0", "2.5"]


def test_text_in_unused_columns_is_counted_with_an_example(data):
    rows = [
        row(1, hint="Answer in one word.", index="0", category="qa", earlier=[["Name two.", "red and blue"]]),
        row(2, hint="", index="1", category="qa", earlier=[]),
    ]
    found = data(rows).unused
    assert [(u.column, u.rows, u.example, u.source, u.turns) for u in found] == [
        ("hint", 1, "Answer in one word.", "rows.jsonl:1", False),
        ("category", 2, "qa", "rows.jsonl:1", False),
        ("earlier", 1, "Name two.", "rows.jsonl:1", True),
    ]


def test_answer_of_invisible_characters_is_empty(data):
    assert data([row(1), row(2, output="\u200b\u3000")]).counts.empty.rows == 1


def test_several_files_of_several_formats_are_one_data_set(data, tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row(2), row(3)]), tmp_path / "more.parquet")
    dataset = data([row(1), row(2)], train=["rows.jsonl", "more.parquet"])
    assert [r.source for r in dataset.train] == ["rows.jsonl:1", "rows.jsonl:2", "more.parquet: row 2"]


def test_columns_are_mapped(data):
    columns = {"instruction": "question", "input": "context", "output": "answer"}
    (example,) = data([{"question": "q", "context": "c", "answer": "a"}], columns=columns).train
    assert (example.instruction, example.input, example.output) == ("q", "c", "a")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"question": "q", "answers": "a"},
            'rows.jsonl:1: no column "instruction", "output"; found: question, answers. Say what the columns '
            "are called, under data: columns: {instruction: question, input: input, output: answers}",
        ),
        ({"instrction": "q", "output": "a"}, 'no column "instruction" (did you mean "instrction"?)'),
        (
            {"input_text": "q", "output_text": "a"},
            "columns: {instruction: input_text, input: input, output: output_text}",
        ),
        (
            {"instruction": "q", "utterances": "a"},
            "utterances. None with text is known to be the answer. A row needs both as text; say which they are, under "
            "data: columns: {instruction: instruction, output: NAME}.",
        ),
        ({"message_id": "m", "role": "prompter", "text": "q"}, "one turn of a conversation (message_id, role, text)"),
        (
            row(1, input="i", output=[{"role": "assistant", "content": "a"}]),
            "output: a list of values was seen; text or a number is allowed",
        ),
        ({"INSTRUCTION": "q", "RESPONSE": "a"}, "{instruction: INSTRUCTION, input: input, output: RESPONSE}"),
        ({"ID": "1", "text": "q", "output": "a"}, "{instruction: text, input: input, output: output}"),
        ({"chosen": "Human: q Assistant: a", "rejected": "b"}, '"chosen" seems to hold a whole conversation'),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "{instruction: prompt, input: input, output: chosen}"),
        (
            {"instruction": "q", "instances": [{"input": "", "output": "a"}]},
            'found: instruction, instances (a list of values). It is within "instances": write each of its items',
        ),
        (
            {"question": "q", "answer": ["a", "b"]},
            "rows.jsonl:1: answer: a list of values was seen; text or a number is allowed",
        ),
        ({"title": "t", "context": "c", "qas": [{"question": "q", "answers": []}]}, 'It is within "qas"'),
        ({"text": "Once upon a time"}, "None with text is known to be the answer"),
    ],
)
def test_row_without_its_columns_is_refused_with_the_line_to_write(data, fields, words):
    with pytest.raises(IikataError) as caught:
        data([fields])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("指示", "入力", "出力"), ("1", "2", "3")),
        (("出力", "入力", "指示"), ("3", "2", "1")),
        (("問題", "解答"), ("1", "", "2")),
        (("指示", "出力"), ("1", "", "2")),
        (("入力", "出力"), ("1", "", "2")),
        (("文脈", "質問", "答え"), ("2", "1", "3")),
    ],
)
def test_japanese_columns_are_suggested_and_the_suggested_line_reads_them(data, names, read):
    fields = {name: str(place) for place, name in enumerate(names, start=1)}
    with pytest.raises(IikataError) as caught:
        data([fields])
    columns = yaml.safe_load(str(caught.value).rpartition("columns: ")[2])
    if columns["input"] not in fields:
        assert columns.pop("input") == "input"
    (example,) = data([fields], columns=columns).train
    assert (example.instruction, example.input, example.output) == read


def test_mapped_input_column_must_exist(data):
    with pytest.raises(IikataError, match='no column "context"'):
        data([row(1)], columns={"input": "context"})


@pytest.mark.parametrize(
    ("rows", "validation", "words"),
    [
        ([row(1), row(2)], 2, "2 rows are to be held out of 2; give fewer"),
        (
            [row(1)] * 12,
            8,
            "8 rows are to be held out of 1, after leaving out 11 seen as duplicates (first rows.jsonl:2); give fewer",
        ),
        ([], 8, "0 rows were read from rows.jsonl; 0 are left to train on and 0 to measure by. Give more rows"),
        ([row(1), row(2)], 1e-9, "2 are left to train on and 0 to measure by"),
        (
            [row(1, output="")],
            0,
            "0 to measure by, after leaving out 1 seen as lacking a question or an answer (first rows.jsonl:1).",
        ),
    ],
)
def test_no_row_left_on_a_side_is_an_error(data, rows, validation, words):
    with pytest.raises(IikataError) as caught:
        data(rows, validation=validation)
    assert words in str(caught.value)


def hub(monkeypatch, load_dataset):
    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_hub_id_is_loaded_through_datasets(monkeypatch, tmp_path):
    asked = []
    hub(monkeypatch, lambda name, split: asked.append((name, split)) or [row(1), row(2)])
    dataset = read(DataSettings(train="owner/rows", validation=0), tmp_path)
    assert asked == [("owner/rows", "train")]
    assert [r.source for r in dataset.train] == ["owner/rows: row 1", "owner/rows: row 2"]


def test_hub_that_cannot_be_reached_is_one_message_with_the_way_out(monkeypatch, tmp_path):
    def load_dataset(name, split):
        raise ConnectionError("Couldn't reach the hub\nand much more")

    hub(monkeypatch, load_dataset)
    with pytest.raises(IikataError) as caught:
        read(DataSettings(train="owner/rows"), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for words in ('"owner/rows" is no file here', "Couldn't reach the hub", "data: {train: rows.jsonl}"):
        assert words in message


def test_hub_without_its_extra_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(IikataError, match=r'"rows" is no file here \(did you mean "rows.jsonl"\?\)'):
        read(DataSettings(train="rows"), tmp_path)
    with pytest.raises(IikataError, match=r'"owner/rows" is no file here.*pip install "iikata\[hub\]"'):
        read(DataSettings(train="owner/rows"), tmp_path)


def test_file_wins_over_a_hub_id_and_a_missing_file_is_no_hub_id(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(IikataError, match=r"^owner/rows.json: no such file"):
        read(DataSettings(train="owner/rows.json"), tmp_path)
    (tmp_path / "rows.v2").mkdir()
    with pytest.raises(IikataError, match=r"^rows.v2: a folder where a file belongs"):
        read(DataSettings(train="rows.v2"), tmp_path)


def test_rows_of_one_document_are_held_out_and_counted_together(data):
    rows = [row(n, document=f"d{n // 5}") for n in range(100)]
    found = data(rows, validation=20, columns={"cluster": "document"})
    held = {int(r.instruction[1:]) // 5 for r in found.validation}
    assert (len(found.validation), len(held)) == (20, 4)
    assert not held & {int(r.instruction[1:]) // 5 for r in found.train}
    assert len(set(found.clusters.values())) == 4


def test_equal_inputs_are_one_document_and_a_row_alone_is_its_own(data):
    rows = [row(n, input=f"passage {n // 2}" if n < 40 else "N/A" if n < 60 else "") for n in range(100)]
    found = data(rows, validation=0.5)
    of = {r.id: r.input for r in found.validation}
    for id, cluster in found.clusters.items():
        alone = not of[id].startswith("passage")
        assert (cluster == id) == alone
        assert alone or sum(other == cluster for other in found.clusters.values()) == 2


def test_rows_stand_alone_where_that_is_said(data):
    found = data([row(n, input="same") for n in range(50)], validation=10, columns={"cluster": "none"})
    assert len(set(found.clusters.values())) == len(found.validation) == 10


def test_the_column_of_documents_must_be_there(data):
    with pytest.raises(IikataError, match=r'rows.jsonl:1: no column "document"'):
        data([row(1)], columns={"cluster": "document"})


def test_a_row_of_a_file_in_several_levels_is_left_out_once(tmp_path):
    for name, rows in (("a", [row(1), row(2), row(3, output=" "), row(1)]), ("b", [row(4), row(5, output="")])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    settings = DataSettings(train="a.jsonl", validation=0)
    counts = read(settings, tmp_path, [("a.jsonl",), ("a.jsonl", "b.jsonl")]).counts
    assert counts.rows == 6
    assert counts.empty == LeftOut(2, ("a.jsonl:3", "b.jsonl:2"))
    assert counts.duplicates == LeftOut(1, ("a.jsonl:4",))


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in range(3)), encoding="utf-8")
    found = read(DataSettings(train=["a.jsonl", "a.jsonl"], validation=0), tmp_path)
    assert (found.counts.rows, len(found.train), found.counts.duplicates.rows) == (3, 3, 0)


def test_a_document_is_held_out_of_every_level(tmp_path):
    for name, numbers in (("a", range(30)), ("b", range(20, 60))):
        lines = (json.dumps(row(n, document=f"d{n // 5}")) + "\n" for n in numbers)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    settings = DataSettings(train="a.jsonl", validation=0.3, columns={"cluster": "document"})
    found = read(settings, tmp_path, [("a.jsonl",), ("b.jsonl",)])
    held = {r.cluster for r in found.validation}
    assert held
    for level in found.levels.values():
        assert not held & {r.cluster for r in level}
