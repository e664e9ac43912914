"""contains and exact."""

import math

import pytest
from said import asked, said

from iikata.metrics import Context
from iikata.metrics.contains import Contains
from iikata.metrics.exact import Exact


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Paris (city)", "Paris"),
        ("The capital is PARIS.", "paris"),
        ("日本で一番高い山は富士山です。", "富士山"),
        ("ﾌｼﾞｻﾝです", "フジサン"),
        ("答えは９です", "9"),
        ("答えは九です", "9"),
        ("It is −5 degrees", "-5"),
        ("New\nYork", "New York"),
        ("標高は3,776メートル", "三千七百七十六メートル"),
    ],
)
def test_a_reference_is_found_however_it_is_typed(text: str, reference: str) -> None:
    assert Contains()(said(text), asked(reference), Context()) == 1.0


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("category", "cat"),
        ("nineteen", "nine"),
        ("19", "9"),
        ("0.9", "9"),
        ("9.5", "9"),
        ("-9", "9"),
        ("九州", "9"),
        ("", "9"),
        ("京都", "東京"),
    ],
)
def test_a_reference_is_not_found_inside_another_word_or_number(text: str, reference: str) -> None:
    assert Contains()(said(text), asked(reference), Context()) == 0.0


@pytest.mark.parametrize("text", ["猫", "ねこ", "それはネコ"])
def test_any_reference_will_do(text: str) -> None:
    assert Contains()(said(text), asked("猫", "ねこ", "ネコ"), Context()) == 1.0


@pytest.mark.parametrize(("text", "value"), [("「富士山」。", 1.0), (" 富士　山 ", 1.0), ("富士山です", 0.0)])
def test_exact_wants_the_reference_and_nothing_else(text: str, value: float) -> None:
    assert Exact()(said(text), asked("富士山"), Context()) == value


@pytest.mark.parametrize("references", [(), ("",), ("。！",)])
def test_a_probe_without_a_usable_reference_cannot_be_scored(references: tuple[str, ...]) -> None:
    assert math.isnan(Contains()(said("x"), asked(*references), Context()))
    assert math.isnan(Exact()(said("x"), asked(*references), Context()))
