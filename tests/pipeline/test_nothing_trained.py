"""Adapters from elsewhere need no rows to train on: rows to measure by, or probes, are enough."""

import json
import math

import pytest
import torch

import oracle
from iikata.cli import main
from iikata.config import declare
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from tiny_experiment import ONE_ARM, contents, values, write_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory, llama_folder):
    made = tmp_path_factory.mktemp("nothing")
    write_files(made)
    (made / "train.jsonl").unlink()
    for number, name in enumerate("ab"):
        torch.manual_seed(number)
        settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
        oracle.new_adapter(llama_folder, **settings).save_pretrained(made / name)
    return made


def written(folder, model, name, **changes):
    """Write an experiment that has neither data nor probes but those of `changes`."""
    variants = [
        {"name": "one", "template": "plain", "adapters": ["a"]},
        {"name": "two", "template": "alpaca_short", "adapters": ["b"]},
    ]
    kept = {key: value for key, value in values(model).items() if key in ("model", "name")}
    small = {"variants": variants, "generate": {"samples": 1, "max_new_tokens": 3}}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(kept | small | changes))
    return path


KINDS = {
    "rows": {"data": {"validation": "validation.jsonl"}, "score": {"metrics": ["nll"]}},
    "probes": {"probes": "probes.jsonl", "score": {"primary": "contains", "metrics": ["contains", "finish"]}},
    "both": {"data": {"validation": "validation.jsonl"}, "probes": "probes.jsonl",
             "score": {"metrics": ["nll", "contains", "finish"]}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_rows_to_measure_by_or_probes_are_enough(kind, folder, llama_folder, capsys):
    path, out = written(folder, llama_folder, kind, **KINDS[kind]), folder / f"run-{kind}"
    assert main(["check", str(path)]) == 0
    assert "nothing to train" in capsys.readouterr().out
    assert main(["plan", str(path)]) == 0
    assert "training on this machine" not in capsys.readouterr().out
    assert main(["run", str(path), "--out", str(out)]) == 0
    for metric in KINDS[kind]["score"]["metrics"]:
        lines = [json.loads(line) for line in (out / "score" / f"{metric}.jsonl").read_text().splitlines()]
        assert {(one["trained_on"], one["prompted_with"]) for one in lines} == {
            (who, template) for who in ("one", "two", None) for template in ("plain", "alpaca_short")
        }
        assert all(math.isfinite(one["value"]) for one in lines)
    assert (out / "encode" / "plain.jsonl").read_text().count("\n") == (0 if kind == "probes" else 3)
    before = contents(out)
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert contents(out) == before
    assert main(["report", str(out)]) == 0


def test_an_arm_of_such_a_run_is_exported(folder, llama_folder, tmp_path):
    made = Pipeline(
        declare(json.loads(written(folder, llama_folder, "e", **KINDS["rows"]).read_text()), folder), tmp_path
    )
    made.run("train")
    export(made.context, "one.s0", tmp_path / "dest", base="owner/name")
    assert (tmp_path / "dest" / "adapter_model.safetensors").is_file()


TRAINED = [{"name": "mine", "template": "plain"}]
REFUSED = {
    "a variant that is trained": ({"variants": TRAINED}, "data.train is missing, and mine is trained on it"),
    "a template that is trained": ({"templates": ["plain"]}, "data.train is missing, and plain is trained on it"),
    "rows held out of none": (
        {"data": {"validation": 5}},
        "data.validation: 5 rows can be held out of data.train alone",
    ),
    "examples": ({**KINDS["rows"], "untuned": {"shots": [0, 2]}}, "untuned.shots: examples are rows of data.train"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_needs_rows_to_train_on_is_refused_at_its_line(kind, folder, llama_folder, capsys):
    changes, said = REFUSED[kind]
    path = written(folder, llama_folder, "refused", **changes)
    assert main(["check", str(path)]) == 1
    assert f"{path}:1:" in (told := capsys.readouterr().err)
    assert said in told


def test_without_anything_to_measure_by_it_is_told_what_would_do(folder, llama_folder, capsys):
    assert main(["check", str(written(folder, llama_folder, "nothing"))]) == 1
    told = " ".join("".join(capsys.readouterr()).split())
    assert "data.validation is not given: nothing would decide" in told
    assert "Hold rows out (data.validation: a file)" in told


def test_variants_with_rows_of_their_own_need_no_common_ones(folder, llama_folder, tmp_path):
    rows = [{"instruction": f"Say {n}.", "output": f"{n}."} for n in range(8)]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    variants = [
        {"name": "mine", "template": "plain", "data": ["own.jsonl"]},
        {"name": "one", "template": "plain", "adapters": ["a"]},
    ]
    train = values(llama_folder, train=ONE_ARM)["train"]
    path = written(folder, llama_folder, "own", **KINDS["rows"] | {"variants": variants, "train": train})
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--to", "score"]) == 0
    scored = {json.loads(line)["trained_on"] for line in (tmp_path / "run/score/nll.jsonl").read_text().splitlines()}
    assert scored == {"mine", "one", None}
