"""Kanji numerals: values by the rules of Japanese counting, hand-computed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iikata.metrics.numerals import ascii_numbers, kanji_value


def in_kanji(number: int) -> str:
    """Write a number the usual way, 1 left out before 十, 百 and 千: the inverse to test against."""
    if number == 0:
        return "〇"
    written = ""
    for unit, large in ((10**12, "兆"), (10**8, "億"), (10**4, "万"), (1, "")):
        part, number = divmod(number, unit)
        thousands = ""
        for size, small in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
            count, part = divmod(part, size)
            if count:
                thousands += ("" if count == 1 and small else "〇一二三四五六七八九"[count]) + small
        written += thousands + large if thousands else ""
    return written


@given(st.integers(0, 10**16 - 1))
def test_every_number_written_in_kanji_is_read_back(number: int) -> None:
    assert kanji_value(in_kanji(number)) == number


@pytest.mark.parametrize(
    ("run", "value"),
    [("二〇二三", 2023), ("二十三", 23), ("三千七百七十六", 3776), ("1億2千万", 120_000_000), ("3万5000", 35000)],
)
def test_positional_and_mixed_numerals_have_their_value(run: str, value: int) -> None:
    assert kanji_value(run) == value


@pytest.mark.parametrize("run", ["万一", "十百", "百千", "一万億", "5一", "九" * 5000])
def test_a_run_that_is_no_number_has_no_value(run: str) -> None:
    assert kanji_value(run) is None


@pytest.mark.parametrize(
    "word", ["九州", "四国", "三角形", "統一", "万一", "千葉", "一番", "十分", "何百人", "数十年", "十数人"]
)
def test_a_numeral_inside_a_word_stays(word: str) -> None:
    assert ascii_numbers(word) == word


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("答えは九です", "答えは9です"),
        ("標高三千メートル", "標高3000メートル"),
        ("三つ", "3つ"),
        ("十二月", "12月"),
        ("第三", "第3"),
        ("1,234,567円", "1234567円"),
        ("1,000.5", "1000.5"),
        ("12,34", "12,34"),
        ("0.5万", "5000"),
        ("17.27億バレル", "1727000000バレル"),
        ("1.5 million", "1500000"),
        ("10\u202f000", "10000"),
        ("三分の二", "2/3"),
        ("18.00", "18"),
        ("1.10", "1.10"),
        ("1.0.0", "1.0.0"),
        (".5", "0.5"),
        ("マイナス五度", "-5度"),
        ("10 minus 5", "10 minus 5"),
        ("1,2345", "1,2345"),
    ],
)
def test_a_numeral_that_counts_becomes_digits(text: str, plain: str) -> None:
    assert ascii_numbers(text) == plain
