"""The examples run: on a tiny model, without the network."""

import json
from pathlib import Path

import pytest

import iikata
from iikata.config import read
from tiny_experiment import values, write_files

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch, llama_folder):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    names = {}
    for number, text in enumerate(code):
        tiny = text.replace('"smollm2"', repr(str(llama_folder)))
        exec(compile(tiny, f"cell {number}", "exec"), names)
    assert names["run"]._repr_html_()
    assert names["run"].report.is_file()


def test_a_metric_of_ones_own_scores_a_run(tmp_path, monkeypatch, llama_folder):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    settings = values(llama_folder, templates=["plain"], score={"metrics": ["nll", "own_metric:Sentences"]})
    settings["train"] |= {"seeds": [0], "epochs": 1}
    run = iikata.run(settings, quiet=True)
    assert len(run.scores.where(metric="sentences")) > 0


@pytest.mark.parametrize("name", ["tiny_cpu.yaml", "rinna_dolly_ja.yaml"])
def test_an_examples_experiment_is_valid_and_its_files_are_there(name):
    declared = read(EXAMPLES / name, [])
    assert (EXAMPLES / declared.probes).is_file()
