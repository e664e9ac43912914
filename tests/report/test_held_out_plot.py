"""What arms came to on held-out rows stands in the report as curves and as a table, the lowest step of each named."""

import math
import re
from dataclasses import replace

import pytest
from synthetic_run import run

from iikata.core.evaluation import Evaluation
from iikata.report.curves import HEIGHT, WIDTH
from iikata.report.held_out import held_out_panels
from iikata.report.pages import pages


def evaluations(arm, *values, prompted_with="a"):
    return [Evaluation(arm, 10 * i, prompted_with, "nll", value, 5) for i, value in enumerate(values)]


def test_seeds_share_a_panel_and_panels_share_both_scales():
    found = {"a.s0": evaluations("a.s0", 2.0, 1.0), "a.s1": evaluations("a.s1", 2.0, 1.5, 1.75), "b.s0": []}
    [panel] = held_out_panels(found)
    assert (panel.name, panel.last, [line.name for line in panel.lines]) == ("a", 20, ["a.s0", "a.s1"])
    low, high = panel.ticks[0][1], panel.ticks[-1][1]
    assert low < 1.0 < 2.0 < high
    heights = {value: HEIGHT * (high - value) / (high - low) for value in (2.0, 1.0, 1.5)}
    second = panel.lines[1]
    assert panel.paths[0] == f"M0.0 {heights[2.0]:.1f}L{WIDTH / 2} {heights[1.0]:.1f}"
    assert panel.marks[0] == pytest.approx((WIDTH / 2, heights[1.0]), abs=0.06)
    assert (second.lowest.step, second.last.step) == (10, 20)
    assert panel.marks[1] == pytest.approx((WIDTH / 2, heights[1.5]), abs=0.06)
    two = held_out_panels(found | {"b.s0": evaluations("b.s0", 9.0)})
    assert len(two) == 2
    assert two[0].ticks == two[1].ticks


def test_a_value_that_is_no_number_breaks_the_line_and_is_never_the_lowest():
    [panel] = held_out_panels({"a.s0": evaluations("a.s0", 3.0, 2.0, math.nan, 2.5, math.inf)})
    assert panel.paths[0].count("M") == 2
    assert panel.paths[0].count("L") == 1
    assert panel.lines[0].lowest.step == 10
    assert held_out_panels({"a.s0": evaluations("a.s0", math.nan)}) == []
    assert held_out_panels({}) == []


def test_a_mixture_has_a_line_for_each_of_its_templates():
    mixed = evaluations("m.s0", 2.0, 1.0) + evaluations("m.s0", 4.0, 3.0, prompted_with="b")
    [panel] = held_out_panels({"m.s0": mixed})
    assert [(line.name, line.lowest.value) for line in panel.lines] == [("m.s0@a", 1.0), ("m.s0@b", 3.0)]


def test_page_and_twins_name_the_lowest_step_of_every_arm():
    made = pages(run(probes=2))
    for text in (made["report.md"], made["report.zenn.md"]):
        assert "](plots/held_out." in text
        assert "| `alpaca.s1` | 2.400 | 1.400 | 40 / 60 | 1.500 |" in text
        assert "| `rinna.s0` | 2.400 | 1.300 | 40 / 60 | – |" in text
    row = re.search(r'<tr><th scope="row">(?:<i[^>]*></i>)?native\.s2</th>(.*?)</tr>', made["index.html"])[1]
    assert re.findall("<td>(.*?)</td>", row) == ["2.400", "1.500", "40 / 60", "1.500"]
    assert "The adapter is always the last step" in made["index.html"]
    assert made["plots/held_out.svg"].count("<circle") == 9


def test_without_evaluations_nothing_is_said_of_them():
    made = pages(replace(run(probes=2), evaluations={}))
    assert "plots/held_out.svg" not in made
    assert not [name for name, text in made.items() if "held_out" in text or "Held-out loss while training" in text]
