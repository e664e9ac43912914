"""`iikata plan` prints what there is to do and what it could find."""

import json
import re
import sys

import pytest

from iikata.cli import main
from iikata.cli.plan_lines import _spent
from tiny_experiment import values, written


@pytest.fixture
def asked(tmp_path, llama_folder):
    return ["plan", str(written(tmp_path, llama_folder)), "--out", str(tmp_path / "run")]


def test_json_takes_the_stated_deviations(asked, capsys):
    assert main([*asked, "--json", "--sd-seed-template", "0.25", "--sd-residual", "0"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["components"]["seed_template"], made["components"]["residual"]) == (0.25, 0)
    assert made["components_from"] == "assumed; stated: seed_template, residual"


def test_text_says_what_can_be_found_and_that_the_margin_is_too_small(asked, capsys):
    assert main([*asked, "--set", "compare.margin={nll: 0.02}"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("4 arms of 2 variants, 24 steps, ")
    assert "10 cells, 60 answers, 120 held-out rows" in told
    assert "smallest difference between templates found with 80% power" in told
    assert "(declared: 0.02, too small for this design)" in told
    assert "compute buys most in " in told
    assert "; assumed from what small models showed on other data" in told


@pytest.mark.parametrize("more", [[], ["--sd-residual", "0.2"], ["--set", "probes=null"], ["--price", "2"]])
def test_japanese_says_the_same_numbers_line_by_line(asked, capsys, more):
    told = {}
    for language in ("en", "ja"):
        assert main([*asked, *more, "--lang", language]) == 0
        told[language] = capsys.readouterr().out.splitlines()
    assert len(told["en"]) == len(told["ja"])
    for en, ja in zip(told["en"], told["ja"], strict=True):
        assert not en or re.search("[ぁ-んァ-ヶ一-龠]", ja)
        if not re.search(r" on this machine|devices like|answers at most|in all", en):  # measured anew each time
            assert sorted(_numbers(en)) == sorted(_numbers(ja))


def _numbers(line):
    """Return a line's numbers; 80% power is said as 5回に4回."""
    return re.findall(r"[\d.,]*\d", line.replace("80%", "5 4"))


def test_what_was_stated_is_told_beside_where_the_rest_comes_from(asked, capsys):
    assert main([*asked, "--sd-residual", "0.2"]) == 0
    told = capsys.readouterr().out
    assert "residual 0.2; assumed from" in told
    assert "--pilot RUN; of these you stated residual\n" in told


def test_without_a_margin_it_says_that_nothing_can_be_equivalent(asked, capsys):
    given = ["--set", "score.metrics=[finish]", "--set", "score.primary=finish", "--set", "compare.margin={}"]
    assert main([*asked, *given]) == 0
    assert "no margin is declared for finish, so nothing can be called EQUIVALENT" in capsys.readouterr().out


def test_a_pilot_tells_how_long_it_will_take(asked, capsys):
    small = ["--set", "train.seeds=[0, 1]", "--set", "generate.samples=1"]
    assert main(["run", *asked[1:], "--to", "score", *small]) == 0
    capsys.readouterr()
    assert main([*asked[:2], "--pilot", asked[-1]]) == 0
    told = capsys.readouterr().out
    assert "at the pilot's speed (train " in told
    assert f"; estimated from the run {asked[-1]}\n" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [(["--sd-sample", "-1"], "0 or more"), (["--pilot", "nowhere"], "nowhere: no scores of nll.* cannot be the pilot")],
)
def test_what_is_at_fault_is_named_and_exits_with_1(asked, capsys, given, said):
    assert main([*asked, *given]) == 1
    assert re.search(said, capsys.readouterr().err)


def test_a_price_turns_all_stages_hours_into_cost(asked, capsys):
    assert main([*asked, "--json", "--price", "1000000"]) == 0
    made = json.loads(capsys.readouterr().out)
    guess = made["estimate"]
    seconds = sum(guess[f"{stage}_seconds"] for stage in ("train", "generate", "score", "other"))
    assert min(guess["score_seconds"], guess["other_seconds"]) > 0
    assert made["hours"] == pytest.approx(seconds / 3600)
    assert made["cost"] == round(1e6 * made["hours"], 2)
    assert main([*asked, "--price", "2.5"]) == 0
    assert " on one CPU, at a price of 0.00\n" in capsys.readouterr().out
    assert main(asked) == 0
    assert "cost" not in capsys.readouterr().out
    assert main([*asked, "--price", "-1"]) == 1
    assert "--price -1.0: the price of an hour" in capsys.readouterr().err


def test_a_short_time_is_told_in_minutes_and_a_long_one_in_hours():
    assert (_spent(0.00171).en, _spent(0.5).en, _spent(40.126).en) == (
        "0:06", "30:00", "40.1 hours",
    )  # fmt: skip


def test_a_tracker_that_is_not_installed_is_told_before_training(tmp_path, llama_folder, capsys, monkeypatch):
    monkeypatch.setattr("iikata.pipeline.tracking.find_spec", lambda name: None if name == "mlflow" else name)
    path = written(tmp_path, llama_folder, report_to=["mlflow"])
    for verb in ("plan", "check", "run"):
        assert main([verb, str(path), "--out", str(tmp_path / "run")]) == 1
        said = capsys.readouterr().err
        assert re.search(r"tiny\.yaml:1:\d+: report_to: mlflow needs what is not installed: pip install mlflow ", said)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "trian.jsonl",
            {"data": {"train": ["train.jsonl", "trian.jsonl"]}},
            'no such file (did you mean "train.jsonl"?)',
        ),
        ("held.jsonl", {"data": {"train": "train.jsonl", "validation": "held.jsonl"}}, "no such file"),
        ("owner/name", {"data": {"train": "owner/name", "validation": 0}}, '"owner/name" is no file here'),
        ("prob.jsonl", {"probes": "prob.jsonl"}, "no such file"),
        ('"validation": 12', {"data": {"train": "train.jsonl", "validation": 12}}, "12 rows are to be held out of 12"),
        ("m.gguf", {"model": {"base": "m.gguf"}}, "no such file"),
    ],
)
def test_a_name_without_a_file_is_told_with_its_line(tmp_path, llama_folder, capsys, monkeypatch, name, change, said):
    monkeypatch.setitem(sys.modules, "datasets", None)  # which would ask the hub for half a minute
    written(tmp_path, llama_folder)
    path = tmp_path / "broken.yaml"
    path.write_text(json.dumps(values(llama_folder, **change), indent=1), encoding="utf-8")
    assert main(["check", str(path)]) == 1
    line = next(n for n, text in enumerate(path.read_text().split("\n"), start=1) if name in text)
    assert re.search(rf"broken\.yaml:{line}:\d+: .*{re.escape(said)}", capsys.readouterr().err)
