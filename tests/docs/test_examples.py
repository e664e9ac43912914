"""The examples run: on a tiny model, without the network."""

import json
from pathlib import Path

import pytest

import iikata
import oracle
from iikata.cli import main
from iikata.config import read
from tiny_experiment import ONE_ARM, values, write_files

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_cells(name, hub_id, model):
    """Run a notebook's cells in order with a local model in the place of its own; return what they named."""
    cells = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    assert f'MODEL = "{hub_id}"' in "\n".join(code)
    names = {}
    for number, text in enumerate(code):
        exec(compile(text.replace(f'"{hub_id}"', repr(str(model))), f"cell {number}", "exec"), names)
    assert names["run"]._repr_html_()
    assert names["run"].report.is_file()
    return names


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch, llama_folder):
    monkeypatch.chdir(tmp_path)
    run_cells("quickstart.ipynb", "smollm2", llama_folder)


@pytest.mark.long
def test_the_notebook_for_colab_runs_in_float16_from_its_first_cell_to_its_last(
    tmp_path, monkeypatch, llama_folder, capsys
):
    monkeypatch.chdir(tmp_path)
    made = run_cells("colab.ipynb", "Qwen/Qwen2.5-0.5B-Instruct", llama_folder)
    told = capsys.readouterr().out
    assert "on this machine (cpu)" in told
    assert (tmp_path / "native-s0" / "adapter_model.safetensors").is_file()
    assert made["run"].verdict["lora_needed"] in ("YES", "SMALL", "NO", "HARMED", "INCONCLUSIVE", "NOT_ASSESSABLE")
    # Both templates' losses fall in float16, and no step is lost to its scaling.
    for arm in ("alpaca_short.s0", "native.s2"):
        log = (tmp_path / "colab-run/train" / arm / "steps.jsonl").read_text(encoding="utf-8")
        steps = [json.loads(line) for line in log.splitlines()]
        assert steps[-1]["loss"] < steps[0]["loss"]


def test_a_metric_of_ones_own_scores_a_run(tmp_path, monkeypatch, llama_folder):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    score = {"metrics": ["nll", "own_metric:Sentences"]}
    settings = values(llama_folder, templates=["plain"], score=score, train=ONE_ARM)
    run = iikata.run(settings, quiet=True)
    assert len(run.scores.where(metric="sentences")) > 0


def test_two_adapters_of_other_trainers_are_compared_with_nothing_to_train(tmp_path, llama_folder, capsys):
    text = (EXAMPLES / "two_adapters.yaml").read_text(encoding="utf-8").replace("smollm2", str(llama_folder))
    text = text.replace("../src", str(EXAMPLES.parent / "src")).replace("native", "plain")
    (tmp_path / "two.yaml").write_text(text, encoding="utf-8")
    for name in ("first", "second"):
        settings = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False}
        oracle.new_adapter(llama_folder, **settings).save_pretrained(tmp_path / f"{name}_adapter")
    few = ["--set", "generate={samples: 1, max_new_tokens: 2}"]
    assert main(["run", str(tmp_path / "two.yaml"), "--out", str(tmp_path / "run"), *few]) == 0
    assert "Does the variant matter?" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tiny_cpu.yaml", "rinna_dolly_ja.yaml", "two_adapters.yaml"])
def test_an_examples_experiment_is_valid_and_its_files_are_there(name):
    declared = read(EXAMPLES / name, [])
    assert (EXAMPLES / declared.probes).is_file()
