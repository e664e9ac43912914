"""Probes are read whole, or refused with file and line."""

import json
import re

import pytest

from iikata.core.errors import IikataError
from iikata.core.records import Probe
from iikata.data import read_probes


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(*probes, name="probes.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(probe) + "\n" for probe in probes))
        return path.relative_to(tmp_path)

    return write


def test_every_field_arrives(file):
    fields = {
        "id": "p",
        "instruction": "山は？",
        "input": "日本",
        "references": ["富士山", 3776],
        "pattern": "富士",
    }
    (probe,) = read_probes(file({**fields, "cluster": "c"}))
    assert probe == Probe("p", "山は？", "日本", ("富士山", "3776"), "富士", "c")


def test_id_is_the_position_and_cluster_the_id_where_none_is_given(file):
    first, second = read_probes(file({"instruction": "a"}, {"instruction": "b", "references": "one"}))
    assert (first.id, first.cluster, second.id, second.cluster) == ("p001", "p001", "p002", "p002")
    assert (first.references, first.pattern, second.references) == ((), None, ("one",))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("指示", "instruction"), ("入力", "input"), ("出力", "references")],
)
def test_a_field_by_another_name_is_told_what_it_is_called_here(file, name, meant):
    with pytest.raises(IikataError, match=f'unknown field "{name}" \\(here it is called "{meant}"\\)'):
        read_probes(file({name: "a"}))


@pytest.mark.parametrize(("answer", "index"), [("blue", 1), (1, 1), ("2", 2), (2, 2)])
def test_choices_have_their_right_one_by_text_or_number(file, answer, index):
    (probe,) = read_probes(file({"instruction": "a", "choices": ["red", "blue", 2], "answer": answer}))
    assert (probe.choices, probe.answer) == (("red", "blue", "2"), index)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"choices": ["a"], "answer": 0}, "two or more different answers"),
        ({"choices": ["a", "a"], "answer": 0}, "two or more different answers"),
        ({"choices": ["a", " "], "answer": 0}, "none of them empty"),
        ({"choices": "ab", "answer": 0}, "a list of two or more"),
        ({"choices": ["a", "b"]}, "answer: null was seen; one of the choices, or its number from 0 to 1"),
        ({"choices": ["a", "b"], "answer": 2}, "answer: 2 was seen"),
        ({"choices": ["a", "b"], "answer": "c"}, 'answer: "c" was seen'),
        ({"choices": ["a", "b"], "answer": True}, "answer: true was seen"),
        ({"answer": "a"}, 'says which of the "choices" is right, and there are none'),
        ({"choices": [["a"], "b"], "answer": 0}, "choices: "),
        ({"choices": ["a", "b"], "answer": 0, "sampled": "no"}, 'sampled: "no" was seen; true or false'),
        ({"sampled": False}, 'no "choices" to read instead'),
    ],
)
def test_choices_that_are_none_are_refused_with_their_line(file, fields, said):
    with pytest.raises(IikataError, match=re.escape(said)) as told:
        read_probes(file({"instruction": "a"}, {"instruction": "b", **fields}))
    assert ":2: " in str(told.value)
