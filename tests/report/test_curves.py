"""Loss curves keep their ends and their faults."""

import math

from iikata.core.records import TrainStep
from iikata.report.curves import HEIGHT, POINTS, WIDTH, panels


def curve(arm, losses):
    return [TrainStep(arm, i, loss, 1e-3, 1.0, 10, 5) for i, loss in enumerate(losses, 1)]


def test_seeds_of_a_template_share_a_panel_and_panels_share_a_scale():
    made = panels({"a.s0": curve("a.s0", [4.2, 1]), "a.s1": curve("a.s1", [3, 1]), "b.s0": curve("b.s0", [1, 1, 1])})
    assert [(p.template, len(p.paths), p.top, p.last) for p in made] == [("a", 2, 4.5, 3), ("b", 1, 4.5, 3)]


def test_the_last_step_is_drawn_at_the_right_edge():
    [panel] = panels({"a.s0": curve("a.s0", [2.0, 1.0])})
    assert panel.paths == [f"M{WIDTH / 2} 0.0L{WIDTH:.1f} {HEIGHT / 2}"]


def test_a_loss_that_is_not_a_number_breaks_the_line_and_is_marked():
    [panel] = panels({"a.s0": curve("a.s0", [1.0, math.nan, 0.5, 0.5])})
    assert panel.paths[0].count("M") == 2
    assert panel.lost == [WIDTH / 2]


def test_a_long_curve_is_thinned_but_no_fault_is_lost():
    losses = [1.0] * 5000
    losses[1234] = math.inf
    [panel] = panels({"a.s0": curve("a.s0", losses)})
    assert panel.paths[0].count("L") <= POINTS
    assert len(panel.lost) == 1


def test_an_arm_without_steps_has_no_panel():
    assert panels({"a.s0": []}) == []
