"""docs/data.md shows rows of every shape, and what it says was read and found is read and found."""

import json
import re
from pathlib import Path

import pytest
from examined import examined

from iikata.config import DataSettings
from iikata.data import read

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```(?:json|csv|tsv)\n(.*?)```.*?\n(\S+?): (read as .*?)\n", PAGE, re.DOTALL)
"""(rows, file, what they were read as) of each section."""


def write(folder: Path, name: str, text: str) -> None:
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([json.loads(text)]), folder / name)
    else:
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("text", "name", "told"), SHOWN, ids=[name for _, name, _ in SHOWN])
def test_a_row_of_the_page_is_read_as_the_page_says(tmp_path, text, name, told):
    write(tmp_path, name, text)
    (line,) = read(DataSettings(train=name, validation=0), tmp_path).read_as
    whole = name == "odd.jsonl"  # of the others the page shows a row of twelve
    expected, found = (one if whole else re.sub(r"\d+ rows", "n rows", one) for one in (told, line.split(": ", 1)[1]))
    assert found == expected


def test_every_shape_has_its_section():
    assert len(SHOWN) == 10
    assert {Path(name).suffix for _, name, _ in SHOWN} == {".jsonl", ".json", ".csv", ".tsv", ".parquet"}


def test_odd_rows_are_told_as_the_page_shows(tmp_path, byte_bpe_folder):
    text = next(text for text, name, _ in SHOWN if name == "odd.jsonl")
    write(tmp_path, "odd.jsonl", text)
    found = examined(tmp_path, byte_bpe_folder, ["native"], data={"train": "odd.jsonl", "validation": 1})
    told = {f"{one.severity} {one.rule}\n  {one.message}\n  evidence: {one.evidence}" for one in found}
    shown = PAGE.partition("5 left out\n")[2].partition("```")[0]
    expected = re.findall(r"^\w+ \w+\n  .*\n  evidence: .*", shown, re.MULTILINE)
    assert len(expected) == 9
    assert set(expected) <= told
