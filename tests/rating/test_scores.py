"""Ratings become scores whose differences compare the answers and nothing else."""

import pytest
from rated_run import answered, asked, choose, prefers

from iikata.core.records import Arm, Cell, Probe
from iikata.metrics import METRICS, RATED
from iikata.rating import Rating, pairs, scores
from iikata.stats import compare

PROBES = asked(3)


def by_template(found, metric):
    return {
        template: {s.value for s in found if (s.metric, s.trained_on) == (metric, template)}
        for template in {s.trained_on for s in found if s.metric == metric}
    }


def rating(first: str, second: str, choice: str, rater: str = "mia", probe: str = "c0-0") -> Rating:
    def cell(name: str) -> Cell:
        arm, prompt = name.split("@")
        return Cell(Arm() if arm == "base" else Arm(arm, 0), prompt)

    return Rating(f"{first} {second} {probe}", rater, choice, probe, 0, cell(first), cell(second), "")


def test_a_win_is_one_a_tie_a_half_and_a_loss_none():
    found = list(scores([rating("a@a", "b@b", "first"), rating("a@a", "b@b", "tie", probe="c1-0")], PROBES))
    assert [(s.trained_on, s.probe, s.cluster, s.value) for s in found] == [
        ("a", "c0-0", "c0", 1.0),
        ("a", "c1-0", "c1", 0.5),
        ("b", "c0-0", "c0", 0.0),
        ("b", "c1-0", "c1", 0.5),
    ]
    assert {(s.metric, s.signature) for s in found} == {("rated", METRICS["rated"].signature)}


def test_raters_of_one_pair_are_averaged_before_opponents_are():
    """Two raters prefer a to b, one c to a, b and c tie: a has (1 + 0) / 2, not (1 + 1 + 0) / 3."""
    given = [rating("a@a", "b@b", "first"), rating("a@a", "b@b", "first", "ken")]
    given += [rating("a@a", "c@c", "second"), rating("b@b", "c@c", "tie")]
    assert {s.trained_on: s.value for s in scores(given, PROBES)} == {"a": 0.5, "b": 0.25, "c": 0.75}


def test_a_skip_says_nothing_and_a_probe_that_is_gone_has_no_score():
    given = [rating("a@a", "b@b", "skip"), rating("a@a", "base@a", "skip"), rating("a@a", "b@b", "first", probe="gone")]
    assert list(scores(given, PROBES)) == []


def test_an_answer_has_no_score_before_it_has_met_every_template():
    met = [rating("a@a", "b@b", "first"), rating("a@a", "c@c", "first"), rating("b@b", "c@c", "first")]
    whole = list(scores(met, PROBES))
    assert len(whole) == 3
    assert list(scores([*met, rating("a@a", "b@b", "second", probe="c1-0")], PROBES)) == whole


def test_against_the_base_the_base_itself_has_one_half():
    given = [rating("a@a", "base@a", "second"), rating("b@b", "base@b", "tie")]
    found = list(scores(given, PROBES))
    assert {(s.trained_on, s.prompted_with): s.value for s in found} == {
        ("a", "a"): 0.0,
        (None, "a"): 0.5,
        ("b", "b"): 0.5,
        (None, "b"): 0.5,
    }
    assert {s.metric for s in found} == {"rated_base"}


def test_a_worse_base_makes_no_template_better():
    """Templates tie with each other; alpaca always beats its base and plain never does."""

    def rule(pair):
        if None not in (pair.first.cell.arm.variant, pair.second.cell.arm.variant):
            return "tie"
        return "first"  # the base's name comes after alpaca's and before plain's

    found = list(scores(choose(answered(PROBES), PROBES, "mia", rule), PROBES))
    assert by_template(found, "rated") == {"alpaca": {0.5}, "plain": {0.5}}
    assert by_template(found, "rated_base") == {"alpaca": {1.0}, "plain": {0.0}, None: {0.5}}


def test_scores_come_in_one_order_however_the_ratings_came():
    given = choose(answered(PROBES), PROBES, "mia", prefers("alpaca", "plain", None))
    found = list(scores(given, PROBES))
    assert found == list(scores(given[::-1], PROBES))
    places = [(s.metric, s.trained_on or "base", s.seed or 0, s.prompted_with, s.probe) for s in found]
    assert places == sorted(places, key=lambda p: (p[0], f"{p[1]}.s{p[2]}" if p[1] != "base" else "base@", *p[3:]))


@pytest.mark.parametrize("templates", [("alpaca", "plain"), ("alpaca", "plain", "third")])
def test_compare_finds_what_every_rater_sees(templates):
    probes = [Probe(f"p{i}", "?", cluster=f"k{i}") for i in range(12)]
    given = choose(answered(probes, templates), probes, "mia", prefers(*templates, None))
    assert len(given) == len(pairs(answered(probes, templates), probes, {}, "mia", 0))
    infos = {name: METRICS[name] for name in RATED}
    made = compare(scores(given, probes), infos, "rated").comparisons
    asked_of = {name: {c.question for c in made if c.metric == name} for name in infos}
    assert asked_of == {"rated": {"matched", "noise_floor"}, "rated_base": {"tuned_vs_base", "noise_floor"}}
    matched = {(c.treatment["trained_on"], c.control["trained_on"]): c for c in made if c.question == "matched"}
    assert {c.verdict for c in matched.values()} == {"MATTERS"}
    assert matched["alpaca", "plain"].difference == pytest.approx(1 / (len(templates) - 1))
    assert {c.difference for c in made if c.question == "tuned_vs_base"} == {0.5}
