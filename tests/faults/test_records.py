"""A line of a run's file is a record as it was written, or refused at its place."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from iikata.core.errors import IikataError
from iikata.core.io import Appender, line_of, read_jsonl
from iikata.core.records import Score, plain

SCORE = Score("plain", 0, "plain", "p1", "c1", 0, "nll", math.nan, "s")
LINE = line_of(plain(SCORE)).strip()


def test_records_read_back_as_they_were_written_and_a_torn_line_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_text(line_of(plain(SCORE)) + '{"trained_on": "pl', encoding="utf-8")
    (found,) = read_jsonl(tmp_path / "a.jsonl", Score, "")
    assert math.isnan(found.value)
    assert plain(found) | {"value": 0} == plain(SCORE) | {"value": 0}


@pytest.mark.parametrize("whole", ["", '{"n": 1}\n'])
def test_a_torn_line_is_cut_off_before_another_is_added(tmp_path, whole):
    (tmp_path / "a.jsonl").write_text(whole + '{"n": ', encoding="utf-8")
    with Appender(tmp_path / "a.jsonl") as file:
        file.add({"n": 2})
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == whole + '{"n": 2}\n'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": "0"}, 'a.jsonl:1: "seed" is "0"; it should be a valid integer. Delete it.'),
        ({"value": "0.5"}, 'a.jsonl:1: "value" is "0.5"; it should be a valid number. Delete it.'),
        ({"stranger": 1}, 'a.jsonl:1: "stranger" is unknown. Delete it.'),
        ({"probe": None}, 'a.jsonl:1: "probe" is null; it should be a valid string. Delete it.'),
    ],
)
def test_a_record_of_other_fields_or_types_is_refused_at_its_line(change, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(line_of(plain(SCORE) | change), encoding="utf-8")
    with pytest.raises(IikataError) as refused:
        list(read_jsonl(Path("a.jsonl"), Score, "Delete it."))
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (" ".join([LINE, LINE]), "a.jsonl:230:"),
        (f"{LINE}, {LINE}", "a.jsonl:230:"),
        (LINE.replace(", ", ",\n", 1), "a.jsonl:230:"),
        ("", "a.jsonl:230:"),
        (LINE.replace("null", '"0.5"'), 'a.jsonl:230: "value" is "0.5"'),
    ],
)
def test_of_many_lines_each_is_one_record_or_told_by_its_number(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line_of(plain(replace(SCORE, sample=n))) for n in range(250)]
    Path("a.jsonl").write_text("".join(lines), encoding="utf-8")
    assert [one.sample for one in read_jsonl(Path("a.jsonl"), Score, "")] == list(range(250))
    Path("a.jsonl").write_text("".join([*lines[:229], f"{line}\n", *lines[230:]]), encoding="utf-8")
    with pytest.raises(IikataError) as refused:
        list(read_jsonl(Path("a.jsonl"), Score, ""))
    assert str(refused.value).startswith(said)
