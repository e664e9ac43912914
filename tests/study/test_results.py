"""The study's analysis on synthetic scores whose effects are known: it finds them, and notices what was changed."""

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import controls
import doubts
import explore
import numpy as np
import pandas as pd
import pytest
import results
import scores
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from synthetic_study import FOREIGN, PLANTED, TEMPLATES, Case, write

from iikata.stats import power, variance_components
from scripts import opened

STUDY = Path(__file__).parents[2] / "study"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model's folder with scores and the results written."""
    folder = write(tmp_path_factory.mktemp("study") / "smollm2")
    for name, text in results.made("smollm2", folder).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def found(made):
    return json.loads((made / "results.json").read_text())


@pytest.fixture
def own(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "smollm2"))


def test_the_planted_template_is_found_and_equal_ones_are_not_told_apart(found):
    verdicts = {(one["treatment"], one["control"]): one["verdict"] for one in found["pairs"] if one["metric"] == "nll"}
    worse = {pair for pair in verdicts if any(side.startswith("dolly_en_rinna") for side in pair)}
    assert {pair for pair, word in verdicts.items() if word == "MATTERS"} == worse
    assert {word for pair, word in verdicts.items() if pair not in worse} <= {"EQUIVALENT", "SMALL"}
    assert found["answers"]["template"]["nll"] == "yes"
    assert found["answers"]["template"]["choice"] != "yes"
    assert found["answers"]["lora"] == {"nll": "yes", "choice": "yes"}


def test_p_is_corrected_over_both_metrics_together(found):
    for rows, count in ((found["pairs"], 12), (found["lora"], 8)):
        assert len(rows) == count
        _, expected, *_ = multipletests([one["p"] for one in rows], method="holm")
        assert [one["p_holm"] for one in rows] == pytest.approx(expected)


def test_the_untuned_model_is_held_at_its_best_with_examples(found):
    (control,) = {one["control"] for one in found["lora"] if one["metric"] == "nll"}
    assert control.endswith("+4shots")
    assert sum(one["best_on_choosing"] for one in found["lora"]) == 2


def test_planted_effects_come_out_as_foretold_and_wrong_prophecies_do_not(made, found):
    assert all(one["holds"] for one in found["planted"].values())
    tested = scores.read(*(made / part for part in results.TESTED))
    pilot = scores.read(made / "pilot")
    for wrong in (2.0, 0.2, -1.0):
        foretold = {name: wrong * size for name, size in PLANTED.items()}
        assert not controls.planted(tested, pilot, "alpaca", foretold)["shuffled-30"]["holds"]


@pytest.mark.parametrize(("mde", "holds"), [(0.005, False), (0.02, True)])
def test_what_is_large_enough_to_be_found_must_be(monkeypatch, mde, holds):
    unclear = {"difference": 0.01, "interval": [-0.02, 0.04], "se": 0.015, "p": 0.4, "p_permutation": 0.4, "mde": mde}
    monkeypatch.setattr(controls, "contrast", lambda *_: unclear)
    (one,) = controls.planted({"nll": None}, {"nll": None}, "alpaca", {"shuffled-10": 0.01}).values()
    assert (one["must_be_found"], one["found_worse"], one["holds"]) == (not holds, False, holds)


def test_every_split_of_twelve_equal_seeds_is_tried(made, found):
    for one in found["negative"]:
        assert (one["seeds"], one["splits"], one["holds"]) == (12, 462, True)
    probes = scores.read(*(made / part for part in results.TESTED))["nll"]
    means = [own.mean() for name in ("alpaca", "again") for own in probes.rows(name, "alpaca").values()]
    ordered = sorted(means)
    assert found["negative"][0]["largest_difference"] == pytest.approx((sum(ordered[6:]) - sum(ordered[:6])) / 6)


def test_a_split_that_holds_an_effect_is_counted(made):
    probes = scores.read(*(made / part for part in results.TESTED))["nll"]
    for cell in [cell for cell in probes.mean if cell[0] == "again" and cell[2] == "alpaca"]:
        probes.mean[cell] = probes.mean[cell] + 10.0
    moved = controls.negative(probes, "alpaca")
    assert moved["below_alpha"] >= 1 / 462
    assert moved["largest_difference"] == pytest.approx(10, abs=0.01)


def test_two_questions_and_five_answers_see_what_the_binomial_says(found):
    # Right answers of all arms have probability 0.3, so of 10 and 10 equally many are right in 18.2%.
    for one in found["five_samples"]:
        assert one["no_difference_seen"] == pytest.approx(0.182, abs=0.03)
        assert one["spread"] == pytest.approx((2 * 0.3 * 0.7 / 10) ** 0.5, abs=0.02)


def test_what_was_put_in_is_what_the_exploration_shows(found):
    costs = [one for one in found["price"] if one["metric"] == "nll"]
    assert len(costs) == 4 * 4
    assert all(one["difference"] == pytest.approx(FOREIGN, abs=0.02) for one in costs)
    unseen = [one for one in found["mixture"] if one["metric"] == "nll" and one["prompted_with"] == "alpaca_asked"]
    assert all(one["difference"] < -FOREIGN + 0.02 for one in unseen)
    assert found["loss"]["interval"][0] < 0 < found["loss"]["interval"][1]
    assert found["shares"]["contains"]["sample"] > 0.9
    assert found["shares"]["nll"]["probe"] > 0.9
    assert found["rates"]["ranking_at_best"] == list(TEMPLATES)


def test_power_counts_what_has_numbers(made, found):
    assert {m: (one["seeds"], one["clusters"]) for m, one in found["power"].items()} == {
        "nll": (6, 150),
        "choice": (6, 300),
    }
    tested = scores.read(made / "test")
    parts = variance_components(tested.records("nll", lambda cell: cell[0] in TEMPLATES and cell[2] == cell[0]), "nll")
    # Holm's first step is over four templates' six pairs by two metrics.
    assert found["power"]["nll"]["detectable"] == pytest.approx(power(parts, 6, 150, 1, 4, 0.05 / 2).detectable)
    for cell in tested["choice"].mean:
        tested["choice"].mean[cell][:50] = float("nan")  # as of probes that are answered and have no choices
    assert explore.powers(tested, TEMPLATES, 0.05)["choice"]["clusters"] == 250


def test_leaving_a_seed_out_is_tried_for_each(found):
    assert set(found["without_a_seed"]) == set("012345")
    assert not any(one["seed"] for metrics in found["doubts"].values() for one in metrics.values())
    hangs = copy.deepcopy(found)
    hangs["without_a_seed"]["2"]["template"]["nll"] = "other"
    assert doubts.doubts(hangs)["template"]["nll"]["seed"] == {"2": "other"}
    assert {one["template"]["nll"] for one in found["without_a_seed"].values()} == {"yes"}


def test_rows_with_long_answers_are_analysed_apart(own):
    lengths = {f"r{n}": (20 if n % 2 else 30) if n < 60 else 3 for n in range(150)}
    (own / "rows.json").write_text(json.dumps(lengths))
    strata = results.results("smollm2", own)["strata"]
    assert {name: one["rows"] for name, one in strata.items()} == {"long": 60, "short": 90}
    assert {pair["clusters"] for pair in strata["long"]["pairs"]} == {60}


def test_rates_are_drawn_larger_where_all_are_near_their_best(made):
    assert "right: " not in (made / "figures" / "rates.svg").read_text()
    assert "right: 1e-3 to 0.01 again" in (STUDY / "smollm2" / "figures" / "rates.svg").read_text()
    assert "right: 1e-3 to 3e-3 again" in (STUDY / "qwen" / "figures" / "rates.svg").read_text()


def test_what_is_committed_is_what_the_scores_give(made):
    assert list(results.faults("smollm2", made)) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("results.json", '"treatment": "alpaca@alpaca"', '"treatment": "native@alpaca"', "results.json pairs"),
        ("tables.md", "| yes |", "| no |", "tables.md: not what the scores give"),
        ("figures/forest_nll.svg", "matters", "equivalent", "figures/forest_nll.svg: not what"),
        ("test/comparisons.json", '"MATTERS"', '"SMALL"', "test/comparisons.json"),
        ("chosen.json", '"nll": 0.02', '"nll": 0.5', "results.json margins.nll"),
    ],
)
def test_one_thing_that_was_changed_is_named(own, file, before, after, said):
    text = (own / file).read_text(encoding="utf-8")
    assert before in text
    (own / file).write_text(text.replace(before, after, 1), encoding="utf-8")
    assert any(fault.startswith(said) for fault in results.faults("smollm2", own))


def test_neither_torch_nor_transformers_is_needed(made):
    code = (
        f"import sys; sys.path.insert(0, {str(STUDY)!r}); import results; from pathlib import Path; "
        f"results.made('smollm2', Path({str(made)!r})); "
        "print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_clusters_are_fitted_as_few_are(monkeypatch):
    module = opened("study/reanalysis.py")
    draw = np.random.default_rng(3).normal
    table = 0.1 + draw(0, 0.05, (1, 6)) + draw(0, 0.2, (40, 1)) + draw(0, 0.3, (40, 6))
    d, bench = pd.DataFrame(table, index=[f"c{n}" for n in range(40)]), module.mixed_model()
    crossed = module.fitted(bench, d)
    monkeypatch.setattr(module, "CROSSED", 10)
    grouped = module.fitted(bench, d)
    assert grouped.difference == pytest.approx(crossed.difference, abs=1e-9)
    assert grouped.error == pytest.approx(crossed.error, rel=1e-3)


@pytest.mark.parametrize("seed", [0, 7, 9])
def test_clusters_that_hardly_vary_are_fitted_to_the_end(monkeypatch, seed):
    # Of a complete table REML is the analysis of variance; a gradient's optimiser stops 4 to 11% off on these three.
    module, rng = opened("study/reanalysis.py"), np.random.default_rng(seed)
    monkeypatch.setattr(module, "CROSSED", 10)
    table = rng.choice([-1.0, 0, 1], p=[0.2, 0.6, 0.2], size=(60, 5)) + rng.normal(0, 0.02, (60, 1))
    table += [0, 0.05, -0.05, 0.08, -0.08]
    (C, S), mean, by_seed, by_cluster = table.shape, table.mean(), table.mean(axis=0), table.mean(axis=1)
    rest = ((table - by_seed - by_cluster[:, None] + mean) ** 2).sum() / ((S - 1) * (C - 1))
    of_seed, of_cluster = by_seed.var(ddof=1) - rest / C, by_cluster.var(ddof=1) - rest / S
    expected = np.sqrt(max(0, of_seed) / S + max(0, of_cluster) / C + rest / (S * C))
    found = module.fitted(module.mixed_model(), pd.DataFrame(table, index=[f"c{n}" for n in range(C)]))
    assert found.error == pytest.approx(expected, rel=1e-3)


def test_probes_without_a_number_are_none_of_a_metric_but_lost_rows_are(made):
    tested = scores.read(made / "test")
    for metric in ("choice", "nll"):
        for cell in tested[metric].mean:
            tested[metric].mean[cell][:7] = float("nan")
    assert len({one.probe for one in tested.records("choice", lambda cell: True)}) == 300 - 7
    assert len({one.probe for one in tested.records("nll", lambda cell: True)}) == 150


def test_the_mixed_models_p_are_corrected_by_holm():
    module = opened("study/reanalysis.py")
    found = [module.Contrast("nll", "a", "b", size, 0.1, False, True) for size in (0.3, 0.05, -0.22, 0.2)]
    module.judged(found, {"nll": None})
    raw = [2 * norm.sf(abs(one.difference) / one.error) for one in found]
    assert [one.p for one in found] == pytest.approx(multipletests(raw, method="holm")[1].tolist())


@pytest.mark.parametrize("paired", [True, False])
def test_what_is_no_number_on_either_side_is_no_agreement(paired):
    module = opened("study/reanalysis.py")
    sd = {"seed": 0.2, "cluster": 0.0, "residual": 0.0}
    told = {"difference": 0.3, "interval": [0.0, 0.6], "sd": sd, "seeds": 4, "clusters": 50}
    one = module.Contrast("nll", "a", "b", 0.3, 0.1, False, paired)
    assert not module.faults(one, told)
    for boundary in (True, False):
        faults = module.faults(replace(one, error=float("nan"), boundary=boundary), told)
        assert faults[0] == "DISAGREES: standard error"
    assert module.faults(replace(one, difference=float("nan")), told) == ["DISAGREES: difference"]
    assert module.faults(one, told | {"interval": [float("nan"), 0.6]})
    assert bool(module.faults(one, told | {"sd": sd | {"residual": float("nan")}})) == paired


def test_a_side_that_cannot_be_fitted_makes_no_error_of_0():
    module, draw = opened("study/reanalysis.py"), np.random.default_rng(1).normal
    index = [f"c{n}" for n in range(20)]
    one = pd.DataFrame(draw(0, 1, (20, 3)), index=index)
    two = pd.DataFrame(
        draw(0, 1, (20, 1)) + np.array([0, 1, 3]), index=index
    )  # no residual: the likelihood is unbounded
    assert np.isnan(module._unpaired(module.mixed_model(), "nll", "a", "b", one, two).error)


def reanalysis(folder):
    command = [sys.executable, str(STUDY / "reanalysis.py"), "smollm2", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_mixed_model_agrees(made):
    done = reanalysis(made.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smollm2: 20 of 20 contrasts agree" in done.stdout


def test_the_mixed_model_takes_the_seeds_that_both_have_where_an_arm_was_given_up(tmp_path):
    folder = write(tmp_path / "smollm2", case=Case(lost=(("plain", 2), ("alpaca", 4))))
    found = results.results("smollm2", folder)
    (folder / "results.json").write_text(json.dumps(results.plain(found)))
    assert {one["seeds"] for one in found["pairs"] if one["treatment"] == "alpaca@alpaca"} == {4, 5}
    assert [(one["seeds"], one["splits"]) for one in found["negative"]] == [(10, 126)] * 2
    done = reanalysis(folder.parent)
    assert "smollm2: 20 of 20 contrasts agree" in done.stdout, done.stdout + done.stderr


def test_the_mixed_model_leaves_out_a_question_that_a_template_cannot_score(tmp_path):
    # A chat template trimmed a choice that ended in a blank: one question in a thousand, and the first NaN that came.
    folder = write(tmp_path / "smollm2", case=Case(unscored=("native", 3)))
    found = results.results("smollm2", folder)
    (folder / "results.json").write_text(json.dumps(results.plain(found)))
    pairs = [one for one in found["pairs"] if one["metric"] == "choice"]
    counts = {("native" in one["treatment"] + one["control"]): one["clusters"] for one in pairs}
    assert counts == {True: counts[False] - 1, False: counts[False]}
    done = reanalysis(folder.parent)
    assert "smollm2: 20 of 20 contrasts agree" in done.stdout, done.stdout + done.stderr


def test_what_the_pages_quote_of_the_mixed_model_is_held(own):
    path = own / "reanalysis.json"
    path.write_text('{"contrasts": 20, "agree": 19, "differing": []}\n')
    done = reanalysis(own.parent)
    assert done.returncode == 1
    assert "reanalysis.json: not what comes out now" in done.stdout


def test_the_mixed_model_disagrees_with_a_number_that_was_changed(own):
    told = json.loads((own / "results.json").read_text())
    told["pairs"][0]["difference"] += 0.001
    told["pairs"][1]["sd"]["cluster"] *= 2
    (own / "results.json").write_text(json.dumps(told))
    done = reanalysis(own.parent)
    assert done.returncode == 1
    assert "DISAGREES: difference" in done.stdout
    assert "DISAGREES: standard error" in done.stdout
