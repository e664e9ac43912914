"""The normal form: the traps of Japanese typing, each with the code points that it is about."""

import random
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iikata.metrics import normal as normal_form
from iikata.metrics import numerals, units
from iikata.metrics.normal import normal, spaced


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


def test_texts_without_a_number_are_put_in_normal_form_by_a_shorter_way_alone(monkeypatch):
    """What needs a digit is not tried without one: every pattern tried on every text gives the same."""
    draw = random.Random(0)
    others = [*"x×-−./%$£~`、eéが漢の \u202f", "C#", "km", " million", "マイナス", "minus ", "分の", "ヴァ"]
    signs = [*"1½\u2044十千何#", "1,234", "2.50", *others]
    texts = ["".join(draw.choices(signs, k=draw.randint(1, 7))) for _ in range(6000)]
    texts += ["".join(draw.choices(others, k=draw.randint(1, 7))) for _ in range(6000)]
    quick = [spaced.__wrapped__(text) for text in texts]
    always = re.compile("")
    monkeypatch.setattr(numerals, "DIGIT", always)
    monkeypatch.setattr(numerals, "NUMERAL", always)
    monkeypatch.setattr(units, "DIGIT", always)
    monkeypatch.setattr(normal_form, "KEPT_SIGN", always)
    assert quick == [spaced.__wrapped__(text) for text in texts]
