"""pattern."""

import math
import time

import pytest
from said import asked, said

from iikata.core.errors import IikataError
from iikata.metrics import Context
from iikata.metrics.pattern import Pattern


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        ("赤.*青.*黄", "赤、青、黄です", 1.0),
        (r"^\d+$", "１２", 1.0),
        ("ＡＢ", "ＡＢ", 1.0),
        ("paris", "Paris", 0.0),
        ("(?i)paris", "Paris", 1.0),
    ],
)
def test_a_pattern_is_searched_in_the_raw_and_the_folded_text(pattern: str, text: str, value: float) -> None:
    assert Pattern()(said(text), asked(pattern=pattern), Context()) == value


def test_a_pattern_that_would_search_for_ages_is_given_up() -> None:
    start = time.process_time()
    assert math.isnan(Pattern(seconds=0.1)(said("a" * 60 + "!"), asked(pattern="(a|aa)+$"), Context()))
    assert time.process_time() - start < 5


def test_a_broken_pattern_is_the_users_fault_and_names_the_probe() -> None:
    with pytest.raises(IikataError, match=r'probe "p1".*\(oops'):
        Pattern()(said("x"), asked(pattern="(oops"), Context())


def test_a_probe_without_a_pattern_cannot_be_scored() -> None:
    assert math.isnan(Pattern()(said("x"), asked("x"), Context()))
