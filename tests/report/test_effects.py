"""A forest plot puts every effect of a question on one scale."""

import pytest
from synthetic_run import comparison

from iikata.report.effects import groups, side, target

A, B, BASE = ("a", "a"), ("b", "b"), (None, "b")


def forest(*found, margin=None):
    return groups(found, "nll", margin)


def test_questions_come_in_the_order_of_the_report_and_noise_floors_are_not_rows():
    found = forest(
        comparison("noise_floor", A, A, "nll", 0.01, 0, None),
        comparison("tuned_vs_base", A, BASE, "nll", -0.4, 0.1, "MATTERS"),
        comparison("matched", A, B, "nll", 0.01, 0.02, "INCONCLUSIVE"),
    )
    assert [group.question for group in found] == ["matched", "tuned_vs_base"]


@pytest.mark.parametrize("difference", [-3.2e-5, 0.0, 0.4, 870.0])
def test_zero_the_interval_and_the_point_lie_inside_and_in_order(difference):
    group = forest(comparison("matched", A, B, "nll", difference, abs(difference) / 2 or 0.1, "MATTERS"))[0]
    effect = group.effects[0]
    zero = next(at for at, value in group.ticks if value == 0)
    assert 0 < effect.interval[0] < effect.at < effect.interval[1] < 100
    assert 0 <= zero <= 100
    assert 3 <= len(group.ticks) <= 8
    assert (effect.at > zero) == (difference > 0)


def test_ticks_lie_where_their_values_are():
    group = forest(comparison("matched", A, B, "nll", 0.01, 0.005, "MATTERS"))[0]
    (first, low), (last, high) = group.ticks[0], group.ticks[-1]
    assert (first, last) == (0, 100)
    assert group.effects[0].at == pytest.approx(100 * (0.01 - low) / (high - low), abs=0.01)


def test_the_margin_band_is_symmetric_around_zero():
    group = forest(comparison("matched", A, B, "nll", 0.01, 0.01, "EQUIVALENT"), margin=0.02)[0]
    zero = next(at for at, value in group.ticks if value == 0)
    assert group.margin[0] < zero < group.margin[1]
    assert zero - group.margin[0] == pytest.approx(group.margin[1] - zero, abs=0.02)


def test_an_effect_that_could_not_be_estimated_has_no_place():
    record = comparison("matched", A, B, "nll", 0.0, 0, "NOT_ASSESSABLE") | {"difference": None}
    effect = forest(record)[0].effects[0]
    assert (effect.at, effect.interval) == (None, None)


def test_a_target_names_the_metric_and_each_cell_once():
    assert target("nll", [A, BASE, A]) == "show=nll;a@a;base@b"
    assert target("contains", [('x"y', "日本")]) == "show=contains;x%22y@%E6%97%A5%E6%9C%AC"


def test_a_matched_cell_goes_by_its_template():
    assert (side(A), side(("a", "b")), side(BASE)) == ("a", "a@b", "base@b")
