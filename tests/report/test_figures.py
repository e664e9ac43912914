"""Numbers read the way people write them; a matrix holds plain means, says what is missing, and colours by better."""

import math
from types import SimpleNamespace

import pytest

from iikata.core.records import Score
from iikata.report import figures
from iikata.report.matrix import keys, matrix

RATE = SimpleNamespace(better="higher", bounds=(0.0, 1.0))
NLL = SimpleNamespace(better="lower", bounds=(0, math.inf))


@pytest.mark.parametrize(
    ("write", "given", "text"),
    [
        (figures.value, (0.942, RATE), "94.2%"),
        (figures.value, (math.nan, RATE), "–"),
        (figures.value, (0.8424, NLL), "0.842"),
        (figures.value, (128.4, NLL), "128"),
        (figures.value, (12.34, NLL), "12.3"),
        (figures.value, (None, NLL), "–"),
        (figures.difference, (0.031, RATE), "+3.1 pt"),
        (figures.difference, (-0.0002, RATE), "−0.02 pt"),  # not rounded to nothing
        (figures.difference, (-0.012, NLL), "−0.012"),
        (figures.difference, (-0.0002, NLL), "−0.0002"),
        (figures.difference, (0.0, NLL), "+0.000"),
        (figures.difference, (None, NLL), "–"),
        (figures.interval, (None, NLL), ""),
        (figures.interval, ((-0.01, 0.02), NLL), "[−0.010, +0.020]"),
        (figures.seconds, (0.84,), "0.8 s"),
        (figures.seconds, (41.2,), "41 s"),
        (figures.seconds, (200,), "3 min 20 s"),
        (figures.seconds, (7500,), "2 h 5 min"),
        (figures.seconds, (None,), "–"),
        (figures.p_value, (0.0,), "< 0.001"),
        (figures.p_value, (0.0123,), "0.012"),
        (figures.size, (3.14e9,), "3.1 GB"),
        (figures.size, (812e6,), "812 MB"),
        (figures.speed, ({"tokens": 900, "seconds": 3.0},), 300),
        (figures.speed, ({"tokens": None, "seconds": 3.0},), None),
        (figures.speed, ({"tokens": 900, "seconds": 0.0},), None),
    ],
)
def test_a_number_is_written(write, given, text):
    assert write(*given) == text


def entries(metric, margin=None, **cells):
    """Return a matrix's entries by template; every value has a seed and a probe of its own."""
    scores = [
        Score(None if name == "base" else name, i, "x", f"p{i}", f"p{i}", 0, "m", value, "m")
        for name, values in cells.items()
        for i, value in enumerate(values)
    ]
    return {row or "base": entry for (row, _), entry in matrix("m", scores, metric, margin).entries.items()}


def test_a_mean_is_over_what_was_scored_and_the_rest_is_counted():
    found = entries(RATE, a=[1.0, math.nan, 0.0, 0.5], b=[math.nan])
    assert (found["a"].mean, found["a"].scored, found["a"].missing) == (0.5, 3, 1)
    assert (found["b"].mean, found["b"].scored, found["b"].missing, found["b"].shade) == (None, 0, 1, 0.0)


def test_the_base_is_the_first_row_and_columns_follow_the_rows():
    assert keys([("b", "a"), ("b", "b"), ("a", "a"), (None, "c")]) == ([None, "b", "a"], ["b", "a", "c"])


def test_deeper_is_better_and_a_difference_within_the_margin_does_not_span_the_colours():
    lower = entries(NLL, a=[0.8], base=[1.6])
    assert (lower["a"].shade, lower["base"].shade) == (1.0, 0.0)
    assert entries(RATE, a=[0.25], b=[0.30])["a"].shade == pytest.approx(0.25)
    close = entries(NLL, margin=0.02, a=[0.80], b=[0.81])
    assert abs(close["a"].shade - close["b"].shade) <= 0.25


def test_a_variant_s_own_cells_are_those_of_the_templates_that_it_was_trained_on():
    cells = [("alpaca", "alpaca", None), ("alpaca", "native", None), ("native+lr3e-4", "native", "native")]
    cells += [("native+lr3e-4", "alpaca", "native"), ("mixed", "alpaca", "alpaca|native"), (None, "alpaca", None)]
    given = [Score(name, 0, prompt, "p", "p", 0, "nll", 1.0, "", template) for name, prompt, template in cells]
    found = matrix("nll", given, NLL)
    own = {key for key, entry in found.entries.items() if entry.own}
    assert own == {("alpaca", "alpaca"), ("native+lr3e-4", "native"), ("mixed", "alpaca")}
