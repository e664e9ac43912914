"""The matrix holds plain means, says what is missing, and colours by what is better."""

import math
from types import SimpleNamespace

import pytest

from iikata.core.records import Score
from iikata.report.matrix import keys, matrix

NLL = SimpleNamespace(better="lower", bounds=(0, math.inf))
RATE = SimpleNamespace(better="higher", bounds=(0, 1))


def scores(cells):
    return [
        Score(*cell, f"p{i}", f"p{i}", 0, "m", value, "m")
        for cell, values in cells.items()
        for i, value in enumerate(values)
    ]


def test_a_mean_is_over_what_was_scored_and_the_rest_is_counted():
    entry = matrix("m", scores({("a", 0, "a"): [1.0, math.nan, 0.0, 0.5]}), RATE).entries["a", "a"]
    assert (entry.mean, entry.scored, entry.missing) == (0.5, 3, 1)


def test_seeds_of_a_template_share_a_cell():
    made = matrix("m", scores({("a", 0, "a"): [1.0], ("a", 1, "a"): [0.0]}), RATE)
    assert made.entries["a", "a"].mean == 0.5


def test_a_cell_without_a_number_has_no_mean():
    entry = matrix("m", scores({("a", 0, "a"): [math.nan]}), RATE).entries["a", "a"]
    assert (entry.mean, entry.scored, entry.missing, entry.shade) == (None, 0, 1, 0.0)


def test_the_base_is_the_first_row_and_columns_follow_the_rows():
    assert keys([("b", "a"), ("b", "b"), ("a", "a"), (None, "c")]) == ([None, "b", "a"], ["b", "a", "c"])


def test_lower_is_deeper_where_lower_is_better():
    made = matrix("m", scores({("a", 0, "a"): [0.8], (None, None, "a"): [1.6]}), NLL)
    assert made.entries["a", "a"].shade == 1.0
    assert made.entries[None, "a"].shade == 0.0


def test_a_rate_is_coloured_by_its_value():
    made = matrix("m", scores({("a", 0, "a"): [0.25], ("b", 0, "b"): [0.30]}), RATE)
    assert made.entries["a", "a"].shade == pytest.approx(0.25)


def test_a_difference_within_the_margin_does_not_span_the_colours():
    made = matrix("m", scores({("a", 0, "a"): [0.80], ("b", 0, "b"): [0.81]}), NLL, margin=0.02)
    assert abs(made.entries["a", "a"].shade - made.entries["b", "b"].shade) <= 0.25
