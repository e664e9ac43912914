"""rouge_l against hand-computed subsequences and the textbook recursion."""

import math
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from said import asked, said

from iikata.metrics import Context
from iikata.metrics.rouge_l import RougeL, longest_common


def textbook(a: str, b: str) -> int:
    @cache
    def common(i: int, j: int) -> int:
        if not i or not j:
            return 0
        return common(i - 1, j - 1) + 1 if a[i - 1] == b[j - 1] else max(common(i - 1, j), common(i, j - 1))

    return common(len(a), len(b))


@given(st.text("abc", max_size=20), st.text("abcd", max_size=20))
def test_the_bit_parallel_length_is_that_of_the_textbook_recursion(a: str, b: str) -> None:
    assert longest_common(a, b) == textbook(a, b)


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        # Lin 2004, section 3: "police kill the gunman" has 3 of 4 words in order, "the gunman kill police" 2 of 4.
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("富士山", "富士山", 1.0),
        ("富士山です。", "富士山", 2 * 3 / (5 + 3)),
        ("山", "山", 1.0),
        ("富士の山", "富士山", 2 * 3 / (4 + 3)),
        ("dog", "犬", 0.0),
        ("", "富士山", 0.0),
    ],
)
def test_f1_has_the_value_computed_by_hand(text: str, reference: str, value: float) -> None:
    assert RougeL()(said(text), asked(reference), Context()) == pytest.approx(value)


def test_the_best_reference_counts_and_without_one_there_is_no_score() -> None:
    assert RougeL()(said("Mt. Fuji"), asked("富士山", "mt fuji"), Context()) == 1.0
    assert math.isnan(RougeL()(said("x"), asked(), Context()))
