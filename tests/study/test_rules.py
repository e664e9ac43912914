"""The study's rules of choice, on score lines whose best rates, margin and planted effects are known."""

import json
from pathlib import Path

import declare
import explore
import pytest
import rates

from iikata.config import read

STUDY = Path(__file__).parents[2] / "study"

ROWS = [f"r{n}" for n in range(4)]


def line(trained_on, seed, prompted_with, probe, value, template=None, rate=None):
    levels = {"train.learning_rate": rate} if rate else {}
    who = {"trained_on": trained_on, "seed": seed, "prompted_with": prompted_with, "template": template}
    return {**who, "probe": probe, "value": value, "levels": levels}


def tuned(template, rate, values, prompted_with=None):
    name = f"{template}+lr{rate}"
    return [
        line(name, 100 + n % 2, prompted_with or template, ROWS[n], value, template, rate)
        for n, value in enumerate(values)
    ]


def test_the_best_rate_is_the_lowest_mean_under_the_own_template():
    lines = tuned("a", "1e-4", [1, 1, 1, 1]) + tuned("a", "3e-4", [1, 0, 1, 1]) + tuned("a", "1e-3", [2, 0, 2, 2])
    lines += tuned("a", "1e-3", [0, 0, 0, 0], prompted_with="b")
    lines += tuned("b", "1e-4", [3, 3, 3, 3]) + tuned("b", "1e-3", [3, 3, 3, 3])
    means = rates.tuned_means(lines, set())
    assert means["a", "3e-4"] == 0.75
    assert rates.best_rates(means) == {"a": "3e-4", "b": "1e-4"}


def test_a_rate_of_which_an_arm_failed_is_not_chosen():
    lines = tuned("a", "1e-4", [1, 1, 1, 1]) + tuned("a", "3e-4", [0, 0, 0, 0])
    assert rates.best_rates(rates.tuned_means(lines, {"a+lr3e-4.s101"})) == {"a": "1e-4"}


def test_a_row_that_one_cell_could_not_score_counts_for_none():
    lines = tuned("a", "1e-4", [1, 9, 1, 1]) + tuned("a", "3e-4", [1, None, 1, 1])
    assert rates.mean_of(rates.whole(lines)) == 1


@pytest.mark.parametrize(
    ("best", "grid", "longer"),
    [
        ({"a": "3e-4"}, [1e-4, 3e-4, 1e-3], None),
        ({"a": "3e-4", "b": "1e-3"}, [1e-4, 3e-4, 1e-3], [1e-4, 3e-4, 1e-3, 3e-3]),
        ({"a": "3e-3"}, [1e-4, 3e-4, 1e-3, 3e-3], [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
        ({"a": "0.01"}, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], None),
        ({"a": "1e-4"}, [1e-4, 3e-4, 1e-3], [3e-5, 1e-4, 3e-4, 1e-3]),
        ({"a": "1e-5"}, [1e-5, 3e-5, 1e-4, 3e-4, 1e-3], None),
        ({"a": "0.01", "b": "1e-4"}, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
    ],
)
def test_the_grid_grows_at_an_edge_and_two_steps_at_most(best, grid, longer):
    found = rates.next_grid(best, grid)
    assert found == (longer and pytest.approx(longer))


def run_folder(folder, lines, gates=()):
    (folder / "score").mkdir(parents=True)
    (folder / "check").mkdir()
    (folder / "score" / "nll.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "check" / "gates.json").write_text(json.dumps(list(gates)))
    return folder


def test_margin_and_planted_effects_are_what_the_pilot_shows(tmp_path):
    names = [declare.name_of(one) for one in declare.STUDIES["smollm2"].templates]
    lines = [one for n, name in enumerate(names) for one in tuned(name, "3e-4", [0.5 + 0.01 * n] * 4)]
    lines += [one for name in names for one in tuned(name, "1e-3", [0.9] * 4)]
    lines += [line(None, None, "alpaca", row, 0.8) for row in ROWS]
    lines += [line(None, draw, "native+4shots", row, 0.7 + 0.1 * draw) for draw in (0, 1) for row in ROWS]
    pilot = [line(name, 100, "alpaca", row, value) for row in ROWS for name, value in
             (("clean", 0.5), ("shuffled-10", 0.52), ("shuffled-30", 0.58))]  # fmt: skip
    gates = [{"name": "live", "subject": "plain+lr1e-3.s100", "passed": False, "detail": ""}]
    one, two = run_folder(tmp_path / "choose", lines, gates), run_folder(tmp_path / "pilot", pilot)
    found = rates.chosen("smollm2", one, two, [1e-4, 3e-4, 1e-3])
    assert found["rates"] == dict.fromkeys(names, "3e-4")
    assert found["best_base"] == "native+4shots"  # (0.7 + 0.8) / 2
    assert found["gain"] == pytest.approx(0.75 - 0.515)
    assert found["margin"]["nll"] == pytest.approx(0.0235)
    assert found["foretold"] == pytest.approx({"shuffled-10": 0.02, "shuffled-30": 0.08})
    assert found["at_the_edge"] == []


@pytest.mark.parametrize("model", declare.STUDIES)
def test_every_experiment_file_is_what_the_rules_lead_to_and_can_be_read(model):
    for part, text in declare.files(model).items():
        path = STUDY / model / f"{part}.yaml"
        assert path.read_text(encoding="utf-8") == text
        assert read(path, ()).arms()


def test_seeds_that_choose_are_never_tested_and_the_control_has_twelve():
    for model in declare.STUDIES:
        seeds = {part: set(read(STUDY / model / f"{part}.yaml", ()).train.seeds) for part in declare.files(model)}
        assert not (seeds["choose"] | seeds["pilot"]) & (seeds["test"] | seeds["planted"] | seeds["again"])
        assert len(seeds["test"] | seeds["again"]) == 12


def test_the_edge_is_that_of_all_rates_tried_also_where_those_beyond_failed():
    chosen = {"means": {"a+lr1e-4": 0.5, "a+lr3e-4": 0.4}, "rates": {"a": "3e-4"}, "at_the_edge": []}
    found = explore.curves(chosen)
    assert (found["grid"], found["at_the_edge"]) == (["1e-4", "3e-4"], [])


def test_the_mixture_gets_the_lower_median():
    assert declare.mixed_rate({"a": "1e-3", "b": "3e-4", "c": "0.01", "d": "3e-3"}) == "1e-3"
    assert declare.mixed_rate({"a": "1e-3", "b": "3e-4", "c": "1e-4", "d": "3e-4"}) == "3e-4"
