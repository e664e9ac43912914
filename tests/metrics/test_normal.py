"""The normal form: the traps of Japanese typing, each with the code points that it is about."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iikata.metrics.normal import normal


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("\u301c", "\uff5e"),  # wave dash and full-width tilde: NFKC leaves the first alone
        ("3\u301c5", "3~5"),
        ("\u22125", "-5"),  # minus sign
        ("－５", "-5"),
        ("３．１４", "3.14"),
        ("１２３", "123"),
        ("ﾌｼﾞｻﾝ", "フジサン"),  # half-width kana with its own voicing mark
        ("㌔", "キロ"),
        ("\u2f00", "一"),  # Kangxi radical one
        ("富士 山", "富士山"),
        ("「富士山」です。", "富士山です"),
        ("Ｔｏｋｙｏ", "tokyo"),
        ("don’t", "don't"),
        ("1,000", "千"),
    ],
)
def test_two_ways_of_typing_have_one_normal_form(typed: str, same: str) -> None:
    assert normal(typed) == normal(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [("5", "-5"), ("3.5", "35"), ("3, 5", "35"), ("3~5", "35"), ("答え—5", "答え-5"), ("a cat", "acat"), ("か", "が")],
)
def test_what_differs_stays_apart(one: str, other: str) -> None:
    assert normal(one) != normal(other)


@given(st.text())
def test_composition_does_not_change_the_normal_form(text: str) -> None:
    assert normal(text) == normal(unicodedata.normalize("NFKC", text))


@given(st.text())
def test_a_normal_form_has_no_outer_or_double_blank(text: str) -> None:
    assert normal(text) == " ".join(normal(text).split())
