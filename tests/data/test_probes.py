"""Probes are read whole, or refused with file and line."""

import json

import pytest

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
