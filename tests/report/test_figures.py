"""Numbers read the way people write them."""

import math
from types import SimpleNamespace

import pytest

from iikata.report import figures

RATE = SimpleNamespace(bounds=(0.0, 1.0))
NLL = SimpleNamespace(bounds=None)


@pytest.mark.parametrize(
    ("number", "metric", "text"),
    [
        (0.942, RATE, "94.2%"),
        (0.8424, NLL, "0.842"),
        (128.4, NLL, "128"),
        (12.34, NLL, "12.3"),
        (None, NLL, "–"),
        (math.nan, RATE, "–"),
    ],
)
def test_a_level(number, metric, text):
    assert figures.value(number, metric) == text


@pytest.mark.parametrize(
    ("number", "metric", "text"),
    [
        (0.031, RATE, "+3.1 pt"),
        (-0.0002, RATE, "−0.02 pt"),
        (-0.012, NLL, "−0.012"),
        (-0.0002, NLL, "−0.0002"),
        (0.0, NLL, "+0.000"),
        (None, NLL, "–"),
    ],
)
def test_a_difference_keeps_its_sign_and_is_not_rounded_to_nothing(number, metric, text):
    assert figures.difference(number, metric) == text


def test_an_interval_that_does_not_exist_is_not_shown():
    assert figures.interval(None, NLL) == ""
    assert figures.interval((-0.01, 0.02), NLL) == "[−0.010, +0.020]"


@pytest.mark.parametrize(
    ("number", "text"), [(0.84, "0.8 s"), (41.2, "41 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (None, "–")]
)
def test_a_time(number, text):
    assert figures.seconds(number) == text


def test_a_tiny_p_is_not_zero():
    assert figures.p_value(0.0) == "< 0.001"
    assert figures.p_value(0.0123) == "0.012"


def test_bytes_are_powers_of_ten():
    assert (figures.size(3.14e9), figures.size(812e6)) == ("3.1 GB", "812 MB")


def test_a_speed_needs_tokens_and_time():
    assert figures.speed({"tokens": 900, "seconds": 3.0}) == 300
    assert figures.speed({"tokens": None, "seconds": 3.0}) is None
    assert figures.speed({"tokens": 900, "seconds": 0.0}) is None
