"""Krippendorff's alpha has the values of his own worked examples.

Krippendorff, K. (2011), Computing Krippendorff's Alpha-Reliability, University of Pennsylvania, examples A to C.
"""

import pytest

from iikata.rating.summary import krippendorff_alpha

MEG = "0100000010", "1110010000"
BEN_GERRY = "aabbdcccedda", "babbbccceddd"
FOUR = "123321412...", "1233224125.3", ".3332342251.", "12332441251."


@pytest.mark.parametrize(("raters", "alpha"), [(MEG, 0.095), (BEN_GERRY, 0.692), (FOUR, 0.743)])
def test_alpha_is_the_published_one(raters, alpha):
    units = [[value for value in unit if value != "."] for unit in zip(*raters, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(alpha, abs=5e-4)


def test_full_agreement_is_one_even_on_a_single_value():
    assert krippendorff_alpha([["a", "a"], ["b", "b", "b"]]) == 1
    assert krippendorff_alpha([["a", "a"]]) == 1


def test_without_a_unit_that_two_rated_there_is_none():
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([["a"], ["b"], []]) is None


def test_full_disagreement_is_below_chance():
    assert krippendorff_alpha([["a", "b"], ["b", "a"]]) == pytest.approx(-0.5)
