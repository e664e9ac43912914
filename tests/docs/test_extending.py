"""What docs/extending.md shows, installed as the package that it describes, runs."""

import json
import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from iikata.cli import main
from iikata.config import LoraSettings
from iikata.model.adapters.flat import LoraShape
from tiny_experiment import ONE_ARM, values, write_files, written

KINDS_ADDED = {"questions": "metric", "shouting": "rule", "dialogue": "format", ".toml": "reader"}
PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's package, where Python finds it, as pip would have left it."""
    (tmp_path / "my_iikata.py").write_text("\n".join(blocks("python")), encoding="utf-8")
    project = tomllib.loads(blocks("toml")[0])["project"]
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    info = tmp_path / "my_iikata-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-iikata\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)


def test_each_addition_is_shown_in_under_30_lines():
    assert len(blocks("python")) == 4
    assert all(block.count("\n") < 30 for block in blocks("python"))


def test_a_run_takes_all_that_the_page_adds(tmp_path, llama_folder, installed, capsys):
    write_files(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    toml = "".join(
        "[[rows]]\n" + "".join(f"{name} = {json.dumps(text)}\n" for name, text in row.items()) for row in rows
    )
    (tmp_path / "train.toml").write_text(toml)
    loud = {"id": "loud", "instruction": "WHICH COLOUR IS RED?", "references": ["red"]}
    (tmp_path / "probes.jsonl").write_text(json.dumps(loud) + "\n")
    (tmp_path / "talk.json").write_text('{"kind": "dialogue", "user": "Q", "model": "A"}')
    settings = values(llama_folder, templates=["talk.json"], score={"metrics": ["nll", "questions"]}, train=ONE_ARM)
    settings["data"] = {"train": "train.toml", "validation": "validation.jsonl"}
    (tmp_path / "my.yaml").write_text(json.dumps(settings))
    lora = ["--set", "train.lora=" + blocks("yaml")[0].strip().removeprefix("train: {lora: ").removesuffix("}")]
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "my.yaml"), "--out", str(run), *lora]) == 0
    assert [one["rule"] for one in json.loads((run / "check" / "findings.json").read_text())].count("shouting") == 1
    scores = [json.loads(line) for line in (run / "score" / "questions.jsonl").read_text().splitlines()]
    assert {score["signature"] for score in scores} == {"questions|mark:?？|v:1"}
    (config,) = (json.loads(path.read_text()) for path in run.glob("train/*/adapter_config.json"))
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (16, 8, True)
    (template,) = (json.loads(path.read_text()) for path in run.glob("train/*/template.json"))
    assert (template["kind"], template["user"]) == ("dialogue", "Q")
    assert main(["export", str(run), "talk.s0", str(tmp_path / "out"), "--base", "./m"]) == 1
    assert "the format dialogue has no chat template" in capsys.readouterr().err


@pytest.fixture
def changed(tmp_path, monkeypatch, installed):
    """Return what writes code behind the page's package, before it is imported."""

    def change(code):
        module = tmp_path / "my_iikata.py"
        module.write_text(f"{module.read_text(encoding='utf-8')}\n\n{code}\n", encoding="utf-8")
        monkeypatch.delitem(sys.modules, "my_iikata", raising=False)
        monkeypatch.setattr("iikata.core.registry.FROM_ELSEWHERE", set())

    return change


def test_a_fault_of_what_was_added_is_told_as_such(tmp_path, llama_folder, changed, capsys):
    changed("def shouting(case):\n    return case.nothing")
    assert main(["check", str(written(tmp_path, llama_folder))]) == 3
    whose = "of my_iikata, which is no part of iikata,"
    assert f"iikata: this is a fault {whose} not of your input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("shouting = ['no']", "is ['no']. It must be a function of one argument, the DoctorInput"),
        ("def shouting(): pass", "is shouting(). It must be a function of one"),
        ("def shouting(case): pass", "returned None. It yields iikata.core.records.Finding"),
        ("def shouting(case): return ['text']", "yielded 'text'. It yields"),
        (
            "def shouting(case): yield Finding('shouting', 'fatal', None, 'x')",
            "yielded Finding(rule='shouting', severity",
        ),
        (
            "def shouting(case): yield Finding('shouting', 'error', None, 3)",
            "yielded Finding(rule='shouting', severity",
        ),
        ("read_toml = None", "is None. It must be a function of a path and"),
        ("def read_toml(path): yield 'place', {}", "is read_toml(path). It must be a function of a path"),
        ("def read_toml(path, shown): pass", "returned None. It yields pairs"),
        ("def read_toml(path, shown): yield {'instruction': 'x'}", "yielded {'instruction': 'x'}. It yields pairs"),
        ("def read_toml(path, shown): yield 3, {'instruction': 'x'}", "yielded (3, {'instruction': 'x'}). It yields"),
        ("class Dialogue: pass", "is <class 'my_iikata.Dialogue'>. It must be a dataclass that derives"),
        ("def Questions(): pass", "is Questions(). It must be a metric: its class"),
        ("Questions.unit = 3", "has as unit 3. It must be a text"),
        ("Questions.bounds = [0, 1]", "has as bounds [0, 1]. It must be a pair as (0.0, 1.0), or None"),
        ("del Questions.better", "declares no better. A metric declares name, better"),
    ],
)
def test_what_was_added_and_is_of_another_kind_is_refused_by_package_and_name(
    tmp_path, llama_folder, changed, capsys, code, told
):
    changed(code)
    path = written(tmp_path, llama_folder, templates=["talk.json"], score={"metrics": ["nll", "questions"]})
    (tmp_path / "talk.json").write_text('{"kind": "dialogue", "user": "Q", "model": "A"}')
    (tmp_path / "train.toml").write_text('[[rows]]\ninstruction = "What?"\noutput = "That."\n')
    assert main(["check", str(path), "--set", "data.train=train.toml"]) == 1
    error = "".join(capsys.readouterr())
    item = next((f'{kind} "{name}"' for name, kind in KINDS_ADDED.items() if f'{kind} "{name}"' in error), error)
    assert f"{item} of the package my-iikata (my_iikata:" in error
    assert told in error, error
    assert "docs/extending.md" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("given", ["None", "'many'", "[1]"])
def test_a_metric_that_gives_no_number_is_refused_by_package_and_name(tmp_path, llama_folder, changed, capsys, given):
    changed(f"Questions.__call__ = lambda self, answer, probe, context: {given}")
    path = written(tmp_path, llama_folder, score={"metrics": ["nll", "questions"]}, train=ONE_ARM)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert f'metric "questions" (Questions of my_iikata) gave {given} for an answer to the probe "' in error
    assert "NaN where the answer cannot be scored" in error
    assert "Traceback" not in error


def test_a_setting_of_an_adapter_is_part_of_its_shape():
    assert {field.name for field in fields(LoraShape)} == set(LoraSettings.model_fields)
