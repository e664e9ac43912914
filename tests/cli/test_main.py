"""The command line: exit codes, one clear error, JSON shapes."""

import json
import subprocess
import sys

import pytest

from iikata.cli import main
from tiny_experiment import written


@pytest.fixture
def experiment_file(tmp_path, llama_folder):
    return written(tmp_path, llama_folder)


def test_wrong_usage_exits_with_2():
    with pytest.raises(SystemExit) as stopped:
        main(["rnu"])
    assert stopped.value.code == 2


def test_encode_prints_one_json_line_a_template_and_row(experiment_file, capsys, tmp_path):
    assert main(["encode", str(experiment_file), "--json", "--limit", "2", "--out", str(tmp_path / "r")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["template"] for line in lines] == ["alpaca_short"] * 2 + ["plain"] * 2
    keys = {"template", "id", "prompt", "completion", "input_ids", "completion_mask", "truncated"}
    assert all(set(line) == keys for line in lines)
    assert all(sum(line["completion_mask"]) >= 2 and line["completion_mask"][-1] for line in lines)


def test_a_run_prints_its_verdict_in_the_language_asked_for(experiment_file, capsys, tmp_path):
    small = ["--set", "train.seeds=[0]", "--set", "templates=[plain]", "--set", "generate.samples=1"]
    assert main(["run", str(experiment_file), *small, "--out", str(tmp_path / "r"), "--lang", "ja"]) == 0
    assert "LoRA" in (said := capsys.readouterr().out)
    assert any("ぁ" <= character <= "ん" for character in said)
    assert main(["compare", str(tmp_path / "r"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) >= {"comparisons", "verdict"}
    assert main(["report", str(tmp_path / "r")]) == 0


def test_compare_reads_scores_of_any_tool(tmp_path, capsys):
    path = tmp_path / "scores.jsonl"
    cells = [(t, s, p) for t in "ab" for s in range(3) for p in range(12)]
    who = [{"trained_on": t, "seed": s, "prompted_with": t, "probe": f"p{p}", "cluster": f"c{p}"} for t, s, p in cells]
    values = [0.5 + 0.01 * ((p * 7 + s * 3) % 5) + (0.2 + 0.01 * (p % 3) if t == "b" else 0) for t, s, p in cells]
    rest = {"sample": 0, "metric": "quality", "signature": "q"}
    lines = [{**one, **rest, "value": value} for one, value in zip(who, values, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["compare", "--scores", str(path), "--metric", "quality", "--margin", "0.1", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    (matched,) = [c for c in made["comparisons"] if c["question"] == "matched"]
    assert matched["verdict"] == "MATTERS"
    assert abs(matched["difference"]) == pytest.approx(0.21)
    assert main(["compare", "--scores", str(path), str(path), "--metric", "quality", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.fixture
def loss_file(tmp_path):
    """Scores of a metric that iikata does not know, and that a known one's name stands beside."""
    path = tmp_path / "loss.jsonl"
    lines = [
        {"trained_on": t, "seed": s, "prompted_with": t, "probe": f"p{p}", "metric": metric,
         "value": 0.5 + 0.01 * ((p * 7 + s * 3) % 5) + (0.2 + 0.01 * (p % 3) if t == "b" else 0)}
        for metric in ("loss", "nll") for t in "ab" for s in range(3) for p in range(12)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_compare_takes_the_direction_and_says_what_else_it_assumed(loss_file, capsys):
    assert main(["compare", "--scores", loss_file, "--metric", "loss", "--better", "lower", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert next(m for m in made["settings"]["metrics"] if m["name"] == "loss")["better"] == "lower"
    said = "metric loss is not declared; assumed: bounds 0 and 1 (all values lie there), kind content."
    assert said in made["warnings"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--metric", "los"], 'metric "los" is unknown (did you mean "loss"?)'),
        (["--metric", "los", "--better", "lower"], 'metric "los" is unknown (did you mean "loss"?)'),
        (["--metric", "loss", "--better", "none"], "cannot be the primary"),
        (["--metric", "nll", "--better", "higher"], "better is lower"),
        ([], "needs --metric"),
    ],
)
def test_compare_tells_what_is_wrong_with_the_metric_asked_for(loss_file, capsys, given, said):
    assert main(["compare", "--scores", loss_file, *given]) == 1
    assert said in capsys.readouterr().err


def test_schema_is_the_experiments(capsys):
    assert main(["schema"]) == 0
    assert "templates" in json.loads(capsys.readouterr().out)["properties"]


def test_templates_are_listed_and_shown(capsys):
    assert main(["templates", "list"]) == 0
    assert "dolly_ja_rinna" in capsys.readouterr().out
    assert main(["templates", "show", "rinna"]) == 0
    assert "ユーザー: {instruction}<NL>システム: " in capsys.readouterr().out


def test_the_interpreter_looks_for_no_cycles_when_a_command_ends():
    code = "import atexit, gc; from iikata.cli import main; main(['schema']); atexit._run_exitfuncs(); "
    ended = subprocess.run(
        [sys.executable, "-c", code + "print(gc.get_freeze_count())"], capture_output=True, text=True, check=True
    )
    assert int(ended.stdout.splitlines()[-1]) > 10_000
