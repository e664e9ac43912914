"""What was declared before scores existed is signed; a later change is said everywhere, beside the first verdict."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from iikata.cli import main
from iikata.core.records import Score
from iikata.pipeline import Pipeline
from iikata.pipeline.looks import look
from iikata.run_folder import read_json
from tiny_experiment import ONE_ARM, experiment


def compared(folder: Path) -> dict:
    return json.loads((folder / "run" / "compare" / "comparisons.json").read_text())


def again(folder: Path, verb: str, *settings: str) -> dict:
    given = [part for setting in settings for part in ("--set", setting)]
    assert main([verb, str(folder / "tiny.yaml"), "--out", str(folder / "run"), *given]) == 0
    return compared(folder)


CHANGES = [
    ("run", "compare.margin.nll=5", "compare.margin.nll 0.02 -> 5"),
    ("compare", "compare.margin={}", "compare.margin.nll 0.02 -> none"),
    ("compare", "compare.alpha=0.3", "compare.alpha 0.05 -> 0.3"),
    ("compare", "score.primary=leakage", "score.primary nll -> leakage"),
    ("compare", "train.seeds=[1]", "train.seeds 0, 1 -> 1"),
    ("run", "templates=[plain]", "templates alpaca_short, plain -> plain"),
]


@pytest.mark.parametrize(("verb", "setting", "said"), CHANGES)
def test_a_change_after_scores_is_said_in_every_text_beside_the_first_verdict(own, capsys, verb, setting, said):
    first = compared(own)
    made = again(own, verb, setting)
    terminal = capsys.readouterr().out
    assert main(["report", str(own / "run")]) == 0
    verdict = made["verdict"]
    assert f"Changed after scores existed ({verdict['changed'][0]['at']}): {said}." in verdict["sentence_en"]
    assert f"：{said}。" in verdict["sentence_ja"]
    assert verdict["first"]["sentence_en"] == first["verdict"]["sentence_en"]
    for language in ("en", "ja"):
        assert first["verdict"][f"sentence_{language}"] in verdict[f"sentence_{language}"]
    for language, beforehand in (
        ()
        if "margin" not in said and "primary" not in said
        else (("en", "declared margin"), ("ja", "事前に宣言した許容差"))
    ):
        then = verdict["first"][f"sentence_{language}"]
        assert beforehand not in verdict[f"sentence_{language}"].rpartition(then)[2]
    assert said in terminal
    assert first["verdict"]["sentence_en"] in terminal
    for page in ("index.html", "report.md", "report.zenn.md"):
        text = (own / "run" / "report" / page).read_text().replace("\\", "").replace("&gt;", ">")
        assert re.sub(r"[`_]", "", said) in re.sub(r"[`_]", "", text), page
        assert "As first declared" in text
    before = {_of(one): one["verdict"] for one in first["comparisons"]}
    mine = [one for one in made["comparisons"] if one["metric"] == made["verdict"]["metric"]]
    assert mine
    for one in mine:
        assert one["detail"]["changed"] == [said]
        assert one["detail"]["first_verdict"] == before.get(_of(one))


def _of(one: dict) -> tuple:
    sides = [(one[side]["trained_on"], one[side]["prompted_with"]) for side in ("treatment", "control")]
    return (one["question"], one["metric"], *sides)


def test_a_change_back_to_what_was_declared_first_leaves_the_first_verdict(own):
    first = compared(own)
    again(own, "compare", "compare.margin.nll=5")
    assert again(own, "compare") == first
    history = json.loads((own / "run" / "signature.json").read_text())["declared"]
    assert [entry["margins"]["nll"] for entry in history] == [0.02, 5, 0.02]
    assert [entry["after_scores"] for entry in history] == [False, True, True]


def test_editing_the_runs_own_file_moves_nothing_unseen(own):
    path = own / "run" / "experiment.yaml"
    path.write_text(path.read_text().replace("nll: 0.02", "nll: 5"), encoding="utf-8")
    assert main(["compare", str(own / "run")]) == 0
    assert "compare.margin.nll 0.02 -> 5" in compared(own)["verdict"]["sentence_en"]


@pytest.mark.parametrize("lost", ["score", "compare", "timing.jsonl"])
def test_deleting_scores_does_not_make_a_change_a_first_declaration(own, lost):
    for path in sorted((own / "run" / lost).rglob("*"), reverse=True) or [own / "run" / lost]:
        path.unlink() if path.is_file() else path.rmdir()
    assert "Changed after scores existed" in again(own, "run", "compare.alpha=0.3")["verdict"]["sentence_en"]


def test_before_any_score_a_change_is_simply_the_declaration(tmp_path, llama_folder):
    Pipeline(experiment(tmp_path, llama_folder, train=ONE_ARM), tmp_path / "run").run("generate")
    changed = experiment(tmp_path, llama_folder, train=ONE_ARM, compare={"margin": {"nll": 5.0}})
    Pipeline(changed, tmp_path / "run").run()
    made = compared(tmp_path)
    assert "changed" not in made["verdict"]
    assert made["settings"]["margins"]["nll"] == 5.0
    (entry,) = json.loads((tmp_path / "run" / "signature.json").read_text())["declared"]
    assert (entry["margins"]["nll"], entry["after_scores"]) == (5.0, False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", entry["at"])
    assert f"declared before scoring ({entry['at']})" in (tmp_path / "run" / "report" / "report.md").read_text()


def test_what_cannot_move_the_primary_verdict_is_a_warning_and_not_its_sentence(own):
    first = compared(own)["verdict"]
    made = again(own, "run", "generate.max_new_tokens=9")
    assert made["verdict"]["sentence_en"] == first["sentence_en"]
    assert "generate.max_new_tokens 6 -> 9" in made["warnings"][0]
    changed = {one["metric"] for one in made["comparisons"] if "changed" in one["detail"]}
    assert changed == {"contains", "finish", "length", "distinct", "leakage"}


def test_a_look_beyond_those_planned_says_so_first(own, capsys):
    assert compared(own)["verdict"]["looks"] == {"this": 1, "planned": 1}
    assert again(own, "compare")["verdict"]["looks"]["this"] == 1  # the same again is no new look
    grown = again(own, "run", "train.seeds=[0, 1, 2]")["verdict"]
    assert grown["looks"] == {"this": 2, "planned": 1}
    for part in ("sentence", "advice"):
        assert grown[f"{part}_en"].startswith("Second look at an experiment planned for one")
        assert grown[f"{part}_ja"].startswith("予定した1回を超える2回目の確認")
    assert "Second look at an experiment planned for one" in capsys.readouterr().out
    timing = [json.loads(line) for line in (own / "run" / "timing.jsonl").read_text().splitlines()]
    assert [line["look"] for line in timing if line["stage"] == "compare"] == [1, 1, 2]


def test_each_declared_look_tests_at_its_part_of_alpha(tmp_path, llama_folder):
    compare = {"looks": 2, "alpha": 0.04}
    Pipeline(experiment(tmp_path, llama_folder, train=ONE_ARM, compare=compare), tmp_path / "run").run("compare")
    assert {one["level"] for one in compared(tmp_path)["comparisons"]} == {0.98}


def test_more_probes_or_seeds_are_another_look_and_what_was_seen_is_none(tmp_path):
    path = tmp_path / "signature.json"

    def looked(seeds, probes):
        run = SimpleNamespace(signature=read_json(path, {}), store=SimpleNamespace(signature=path))
        names = [(seed, f"p{number}") for seed in range(seeds) for number in range(probes)]
        return look(run, [Score("plain", seed, "plain", probe, probe, 0, "nll", 1.0, "") for seed, probe in names])

    grown = [(3, 10), (3, 10), (2, 10), (3, 12), (3, 9), (5, 12)]
    assert [looked(*size) for size in grown] == [1, 1, 1, 2, 1, 3]
