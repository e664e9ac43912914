"""chrf against the sentence-level values of sacrebleu's own tests (test/test_chrf.py, eps_smoothing off)."""

import math

import pytest
from said import asked, said

from iikata.metrics import Context
from iikata.metrics.chrf import Chrf


@pytest.mark.parametrize(("text", "reference", "value"), [("a", "a", 100.0), ("a b c", "abc", 100.0), ("", "c", 0.0)])
def test_short_texts_have_the_values_of_sacrebleus_tests(text: str, reference: str, value: float) -> None:
    assert Chrf()(said(text), asked(reference), Context()) == pytest.approx(value)


def test_one_differing_letter_has_the_value_computed_by_hand() -> None:
    # "aa" and "ab": 1-grams P = R = 1/2, 2-grams 0, higher orders are in neither: mean P = mean R = 1/4.
    assert Chrf()(said("aa"), asked("ab"), Context()) == pytest.approx(25.0)


def test_the_gold_word_inside_a_right_sentence_scores_below_half() -> None:
    # By hand: P = (3/14 + 2/13 + 1/12) / 3 = 0.15049, R = 1, F2 = 5PR / (4P + R).
    assert Chrf()(said("日本で最も高い山は富士山です"), asked("富士山"), Context()) == pytest.approx(46.97, abs=0.005)


def test_width_does_not_count_and_the_best_reference_does() -> None:
    for text, reference in (("ﾌｼﾞｻﾝ", "フジサン"), ("フジサン", "ﾌｼﾞｻﾝ")):
        assert Chrf()(said(text), asked("富士山", reference), Context()) == pytest.approx(100.0)


def test_a_probe_without_references_cannot_be_scored() -> None:
    assert math.isnan(Chrf()(said("x"), asked(" "), Context()))
