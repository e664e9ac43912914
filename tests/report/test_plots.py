"""A forest plot puts every effect of a question on one scale; loss curves keep their ends and their faults."""

import math

import pytest
from synthetic_run import comparison

from iikata.core.records import TrainStep
from iikata.report.curves import HEIGHT, POINTS, WIDTH, panels
from iikata.report.effects import groups, target

A, B, BASE = ("a", "a"), ("b", "b"), (None, "b")


def forest(*found, margin=None):
    return groups(found, "nll", margin)


def zero(group):
    return next(at for at, value in group.ticks if value == 0)


def test_questions_come_in_the_order_of_the_report_and_noise_floors_are_not_rows():
    found = forest(
        comparison("noise_floor", A, A, "nll", 0.01, 0, None),
        comparison("tuned_vs_base", A, BASE, "nll", -0.4, 0.1, "MATTERS"),
        comparison("matched", A, B, "nll", 0.01, 0.02, "INCONCLUSIVE"),
    )
    assert [group.question for group in found] == ["matched", "tuned_vs_base"]


@pytest.mark.parametrize("difference", [-3.2e-5, 0.0, 0.01, 0.4, 870.0])
def test_zero_both_intervals_and_the_point_are_inside_in_order_and_on_the_ticks_scale(difference):
    [group] = forest(comparison("matched", A, B, "nll", difference, abs(difference) / 2 or 0.1, "MATTERS"))
    [effect] = group.effects
    (low, high), inner = effect.interval, effect.inner  # of 95% and of 90%
    assert 0 < low < inner[0] < effect.at < inner[1] < high < 100
    assert 3 <= len(group.ticks) <= 8
    (first, low), (last, high) = group.ticks[0], group.ticks[-1]
    assert (first, last) == (0, 100)
    assert effect.at == pytest.approx(100 * (difference - low) / (high - low), abs=0.01)


def test_the_margin_band_is_symmetric_around_zero():
    [group] = forest(comparison("matched", A, B, "nll", 0.01, 0.01, "EQUIVALENT"), margin=0.02)
    assert 0.02 < zero(group) - group.margin[0] == pytest.approx(group.margin[1] - zero(group), abs=0.02)


def test_an_effect_that_could_not_be_estimated_has_no_place():
    record = comparison("matched", A, B, "nll", 0.0, 0, "NOT_ASSESSABLE") | {"difference": None}
    effect = forest(record)[0].effects[0]
    assert (effect.at, effect.interval) == (None, None)


def test_a_target_names_the_metric_and_each_cell_once():
    assert target("nll", [A, BASE, A]) == "show=nll;a@a;base@b"
    assert target("contains", [('x"y', "日本")]) == "show=contains;x%22y@%E6%97%A5%E6%9C%AC"


def curves(**losses):
    """Return the panels of arms a0, a1, b0, … by their losses."""
    named = {f"{name[0]}.s{name[1]}": found for name, found in losses.items()}
    return panels(
        {arm: [TrainStep(arm, i, x, 1e-3, 1.0, 10, 5) for i, x in enumerate(own, 1)] for arm, own in named.items()}
    )


def test_seeds_of_a_template_share_a_panel_and_panels_share_a_scale():
    made = curves(a0=[4.2, 1], a1=[3, 1], b0=[1, 1, 1], c0=[])
    assert [(p.name, len(p.paths), p.ticks[0], p.last) for p in made] == [("a", 2, (0, 4.5), 3), ("b", 1, (0, 4.5), 3)]


def test_the_last_step_is_at_the_right_edge_and_a_loss_that_is_not_finite_breaks_the_line_and_is_marked():
    assert curves(a0=[2.0, 1.0])[0].paths == [f"M{WIDTH / 2} 0.0L{WIDTH:.1f} {HEIGHT / 2}"]
    [panel] = curves(a0=[1.0, math.nan, 0.5, 0.5])
    assert panel.paths[0].count("M") == 2
    assert panel.lost == [WIDTH / 2]


def test_a_long_curve_is_thinned_but_no_fault_is_lost():
    [panel] = curves(a0=[math.inf if i == 1234 else 1.0 for i in range(5000)])
    assert panel.paths[0].count("L") <= POINTS
    assert len(panel.lost) == 1
