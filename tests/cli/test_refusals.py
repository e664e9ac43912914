"""What a user may get wrong gives one line and exit 1, never a verdict made of half the data."""

import json
import os
import subprocess
import sys

import pytest

from iikata.cli import main
from tiny_experiment import finished, values, written


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, llama_folder):
    return finished(tmp_path_factory.mktemp("refusals"), llama_folder)


@pytest.fixture
def kept(run_folder):
    """The run's primary scores, put back after the test."""
    path = run_folder / "score" / "nll.jsonl"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def test_scores_without_a_number_are_told_before_the_verdict(run_folder, kept, capsys):
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    lines[2]["value"] = None
    kept.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["compare", "--scores", str(kept), "--metric", "nll", "--margin", "0.1"]) == 0
    out = capsys.readouterr().out
    assert -1 < out.find("1 scores of nll are no number") < out.rfind(f"{kept}: ")


def test_an_experiment_and_score_files_at_once_are_refused(run_folder, kept, capsys):
    assert main(["compare", str(run_folder), "--scores", str(kept), "--metric", "nll"]) == 1
    assert "not both" in capsys.readouterr().err


def test_an_output_folder_that_is_a_file_is_one_line(run_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["encode", str(run_folder.parent / "tiny.yaml"), "--out", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(tmp_path / "file") in said


def test_colours_do_not_go_into_a_pipe(run_folder, capsys):
    assert main(["encode", str(run_folder), "--limit", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["check", "compare", "report"])
def test_a_closed_stdout_is_no_fault(verb, run_folder, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert main([verb, str(run_folder)]) == 0


@pytest.mark.parametrize("words", ["schema", "templates list"])  # more than a buffer holds, and less
def test_a_reader_that_went_away_is_no_fault(words, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    reader, stdout = os.pipe()
    os.close(reader)  # as `| head` does once it has enough
    command = [sys.executable, "-m", "iikata", *words.split()]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    os.close(stdout)
    assert (done.returncode, done.stderr) == (0, "")


def test_scores_that_are_torn_are_made_again_by_run(run_folder, kept, capsys):
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-20])
    assert main(["run", str(run_folder)]) == 0
    assert "Scored again" in capsys.readouterr().err
    assert kept.read_bytes() == whole


def test_a_run_that_is_to_go_on_in_another_folder_goes_on_there(run_folder, tmp_path, capsys):
    assert main(["report", str(run_folder), "--out", str(tmp_path / "other")]) == 1
    assert f"{tmp_path / 'other'}: no signature.json, so no run yet" in capsys.readouterr().err


def test_a_folder_that_holds_no_run_is_told_how_to_become_one(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert f"iikata run EXP --out {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("language", "refused", "warned"),
    [
        ("en", "the template doctor found 1 error:", "(iikata check says more)"),
        ("ja", "テンプレート診断でエラーが 1 件見つかりました:", "す（くわしくは iikata check）"),
    ],
)
def test_what_the_doctor_finds_is_said_by_every_command_in_the_language_asked_for(
    tmp_path, llama_folder, capsys, language, refused, warned
):
    written(tmp_path, llama_folder)
    path = tmp_path / "experiment.yaml"
    path.write_text(json.dumps(values(llama_folder, templates=["plain", "plian"])), encoding="utf-8")
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--lang", language]) == 1
    told = capsys.readouterr().err
    assert refused in told
    assert "--force" not in told  # which cannot bring a template that is not there
    path.write_text(json.dumps(values(llama_folder)), encoding="utf-8")
    assert main(["encode", str(path), "--out", str(tmp_path / "run"), "--lang", language]) == 0
    told = capsys.readouterr().err
    assert "warning: " in told
    assert told.count("warning: ") == told.count(warned)
