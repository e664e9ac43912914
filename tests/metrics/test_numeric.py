"""numeric."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from said import asked, said

from iikata.metrics import Context
from iikata.metrics.numeric import Numeric, numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4 + 5 = 9", [4, 5, 9]),
        ("10-3", [10, 3]),
        ("気温は−5度", [-5]),
        ("１，２３４円", [1234]),
        ("三千七百七十六メートル", [3776]),
        ("pi is 3.14.", [Decimal("3.14")]),
        ("H2O and COVID-19", [19]),
        ("$1,234.50 or 1.5 million", [Decimal("1234.5"), 1_500_000]),
        ("3/4, 1½ and 三分の二", [Decimal("0.75"), Decimal("1.5"), Fraction(2, 3)]),
        ("マイナス5 and 50%", [-5, 50]),
        ("7/0", [7]),
        ("9" * 9000, []),
        ("9" * 9000 + " million", []),
        ("none", []),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, found: list[object]) -> None:
    assert numbers(text) == [Fraction(number) for number in found]


def test_the_last_number_counts() -> None:
    assert Numeric()(said("4 plus 5 is 9.0"), asked("九"), Context()) == 1.0
    assert Numeric()(said("9.0 is 4 plus 5"), asked("九"), Context()) == 0.0


def test_an_answer_without_a_number_is_wrong_and_a_reference_without_one_cannot_be_scored() -> None:
    assert Numeric()(said("nine"), asked("9"), Context()) == 0.0
    assert math.isnan(Numeric()(said("9"), asked("nine"), Context()))
