"""The Python face gives what the commands give, as objects and tables."""

import html
import json
import subprocess
import sys

import pytest

import iikata
from iikata.core.errors import IikataError
from tiny_experiment import values, write_files


@pytest.fixture(scope="module")
def made(tmp_path_factory, llama_folder):
    """A run by the Python face, and the settings that made it."""
    folder = tmp_path_factory.mktemp("api")
    write_files(folder)
    settings = values(llama_folder)
    for part, name in (("train", "train.jsonl"), ("validation", "validation.jsonl")):
        settings["data"][part] = str(folder / name)
    settings["probes"] = str(folder / "probes.jsonl")
    return iikata.run(settings, folder / "run", quiet=True), settings


def test_a_run_has_the_verdict_comparisons_scores_and_answers_that_lie_in_its_folder(made):
    run, _ = made
    stored = json.loads((run.folder / "compare" / "comparisons.json").read_text(encoding="utf-8"))
    assert run.verdict == stored["verdict"]
    assert [dict(row) for row in run.comparisons] == stored["comparisons"]
    lines = [json.loads(line) for line in (run.folder / "score" / "finish.jsonl").read_text().splitlines()]
    assert [row["value"] for row in run.scores.where(metric="finish")] == [line["value"] for line in lines]
    assert len(run.answers) == sum(path.read_bytes().count(b"\n") for path in (run.folder / "generate").glob("*.jsonl"))
    assert run.report.is_file()
    assert iikata.load_run(run.folder).verdict == run.verdict


def test_a_notebook_shows_the_verdict_and_what_a_model_wrote_as_text(made):
    run, _ = made
    assert html.escape(run.verdict["advice_en"]) in run._repr_html_()
    table = iikata.Table([{"text": "<script>alert(1)</script>", "n": 1}, {"more": 2}])
    assert table.columns == ["text", "n", "more"]
    assert table[:1].columns == ["text", "n"]
    assert "<script>" not in table._repr_html_()
    assert "&lt;script&gt;" in table._repr_html_()


def test_scores_are_compared_as_the_command_does(made, tmp_path):
    run, _ = made
    path = run.folder / "score" / "nll.jsonl"
    command = [sys.executable, "-m", "iikata", "compare", "--scores", str(path), "--metric", "nll", "--margin", "0.02"]
    printed = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    from_file = iikata.compare(path, "nll", 0.02).to_json()
    from_rows = iikata.compare(run.scores.where(metric="nll"), "nll", 0.02).to_json()
    assert json.loads(json.dumps(from_file)) == printed
    assert json.loads(json.dumps(from_rows)) == printed
    unknown = [{**row, "metric": "mine"} for row in run.scores.where(metric="nll")]
    assert iikata.compare(unknown, "mine", better="lower").settings["metrics"][0]["better"] == "lower"
    with pytest.raises(IikataError, match="no score line"):
        iikata.compare([{"colour": "red"}], "nll")


def test_force_goes_on_though_the_doctor_found_an_error(made, monkeypatch):
    run, settings = made
    asked = []
    monkeypatch.setattr("iikata.pipeline.Pipeline.run", lambda self, **given: asked.append(given))
    iikata.run(settings, run.folder, force=True, quiet=True)
    assert asked == [{"force": True}]


def test_check_gives_the_doctors_findings_and_leaves_nothing_behind(made, tmp_path, monkeypatch):
    _, settings = made
    monkeypatch.chdir(tmp_path)
    findings = iikata.check({**settings, "templates": ["plain", "nope"]})
    assert any(one.severity == "error" and "nope" in one.message for one in findings)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_comparison_is_told(tmp_path):
    with pytest.raises(IikataError, match="nothing has been compared here yet"):
        iikata.load_run(tmp_path)


def test_importing_the_package_imports_neither_torch_nor_numpy():
    code = "import sys, iikata; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    assert sorted(iikata.__all__) == ["Run", "Table", "check", "compare", "load_run", "run"]
    for name in iikata.__all__:
        assert getattr(iikata, name).__doc__
