"""What was published gives the comparisons of the run it came from, without the run; other bytes are refused."""

import json

import pytest

from iikata.core.errors import IikataError
from iikata.pipeline.publishing import differences, publish, redone
from iikata.run_folder import RunFolder


@pytest.fixture(scope="module")
def published(whole_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, [whole_run])
    return folder


def test_published_scores_give_the_comparisons_of_the_run(published, whole_run):
    own = json.loads(RunFolder(whole_run).comparisons.read_text())
    found = redone(published)
    assert list(differences(found["comparisons"], own["comparisons"])) == []
    assert found["cells"]
    assert found["verdict"]["template_matters"] == own["verdict"]["template_matters"]
    assert found["verdict"]["lora_needed"] == own["verdict"]["lora_needed"]


def test_nothing_of_the_machine_is_published(published, whole_run):
    about = (published / "published.json").read_text()
    assert str(whole_run.parent) not in about
    told = json.loads(about)["runs"][0]
    assert set(told["adapters"]) == {"alpaca_short.s0", "alpaca_short.s1", "plain.s0", "plain.s1"}
    assert told["templates"].keys() == {"alpaca_short", "plain"}


def test_a_score_that_was_changed_is_noticed(published, tmp_path):
    for name in ("scores.parquet", "published.json", "comparisons.json"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    content = bytearray((tmp_path / "scores.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "scores.parquet").write_bytes(content)
    with pytest.raises(IikataError, match="was written for"):
        redone(tmp_path)


def test_blocks_of_another_experiment_are_refused(whole_run, own, tmp_path):
    other = own / "run" / "signature.json"
    signed = json.loads(other.read_text())
    signed["templates"]["plain"] = "another"
    other.write_text(json.dumps(signed))
    with pytest.raises(IikataError, match=r"it differs from .* in its templates"):
        publish(tmp_path / "out", [whole_run, own / "run"])


def test_a_cell_of_two_blocks_counts_once(whole_run, own, published, tmp_path):
    publish(tmp_path / "out", [whole_run, own / "run"])
    assert list(differences(redone(tmp_path / "out"), redone(published))) == []


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        ({"a": [1.0, 2]}, {"a": [1.0 + 1e-12, 2]}, []),
        ({"a": [1.0, 2]}, {"a": [1.001, 2]}, ["a[0]: 1.0, 1.001"]),
        ({"a": 1}, {"b": 1}, ["a: 1, None", "b: None, 1"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a: [1], [1, 2]"]),
        ({"a": "MATTERS"}, {"a": "SMALL"}, ["a: MATTERS, SMALL"]),
        ({"a": None}, {"a": 0.5}, ["a: None, 0.5"]),
    ],
)
def test_what_differs_is_named_by_its_place(now, then, said):
    assert list(differences(now, then)) == said
