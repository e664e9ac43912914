"""The summary counts what was rated, and tells win rates, strengths and agreement."""

import pytest
from rated_run import MARKERS, answered, asked, choose, prefers

from iikata.rating import same, summary
from iikata.rating.summary import krippendorff_alpha

PROBES = asked(12)
ANSWERS = answered(PROBES)
LIKES = prefers("alpaca", None, "plain")


def test_counts_leave_skips_out_and_agreement_is_full_where_all_say_the_same():
    mia = choose(ANSWERS, PROBES, "mia", LIKES)
    ken = choose(ANSWERS, PROBES, "ken", LIKES, most=20)
    eva = choose(ANSWERS, PROBES, "eva", lambda pair: "skip", most=3)
    found = summary(mia + ken + eva, PROBES)
    assert found.raters == {"mia": 108, "ken": 20, "eva": 0}
    assert (found.ratings, found.skipped, found.shared, found.agreement, found.same) == (128, 3, 20, 1.0, 0)


def test_win_rates_are_by_pair_of_cells_over_seeds_and_by_cluster():
    def rule(pair):
        return "tie" if pair.probe == "c3-0" else LIKES(pair)

    found = summary(choose(ANSWERS, PROBES, "mia", rule), PROBES)
    assert [(one.first, one.second, one.wins, one.ties, one.losses) for one in found.win_rates] == [
        (("alpaca", "alpaca"), ("plain", "plain"), 33, 3, 0),
        (("alpaca", "alpaca"), (None, "alpaca"), 33, 3, 0),
        ((None, "plain"), ("plain", "plain"), 33, 3, 0),
    ]
    for one in found.win_rates:
        assert one.by_cluster == {f"c{c}": 0.5 if c == 3 else 1.0 for c in range(12)}
        assert one.rate == pytest.approx(11.5 / 12)


def test_every_cluster_counts_once_however_often_it_was_rated():
    few = choose(ANSWERS, PROBES, "mia", LIKES)
    many = [
        r
        for who in ("ken", "eva", "leo")
        for r in choose(ANSWERS, PROBES, who, lambda p: "second")
        if r.probe == "c0-0"
    ]
    between, *_ = summary(few + many, PROBES).win_rates
    assert between.rate == pytest.approx((11 + 1 / 4) / 12)


def test_strengths_come_in_order_with_intervals_and_sum_to_nothing():
    order = ("alpaca", "plain", None)  # of base and plain, the second side wins
    found = summary(choose(ANSWERS, PROBES, "mia", prefers(*order)), PROBES).strengths
    assert [(one.trained_on, one.prompted_with) for one in found][:2] == [("alpaca", "alpaca"), ("plain", "plain")]
    assert [one.trained_on for one in found][2:] == [None, None]
    assert sum(one.strength for one in found) == pytest.approx(0, abs=1e-9)
    for one in found:
        assert one.interval is not None
        assert one.interval[0] <= one.strength <= one.interval[1]


def test_equal_texts_are_ties_of_win_rates_and_never_agreement():
    answers = answered(PROBES, text=lambda t, s, p, probe, i: "same" if probe < "c5" else f"{t} {p}")
    given = [r for who in ("mia", "ken") for r in choose(answers, PROBES, who, LIKES)]
    ties = same(answers, PROBES, MARKERS, given, 0)
    found = summary(given + ties, PROBES)
    assert found.same == len(ties) > 0
    assert (found.ratings, found.shared, found.agreement) == (len(given), len(given) // 2, 1.0)
    assert sum(one.ties for one in found.win_rates) == len(ties)


def test_of_nothing_there_is_a_summary_too():
    found = summary(choose(ANSWERS, PROBES, "mia", LIKES), [])
    assert (found.ratings, found.win_rates, found.strengths, found.agreement) == (0, (), (), None)
    assert summary([], PROBES) == found


MEG = "0100000010", "1110010000"
BEN_GERRY = "aabbdcccedda", "babbbccceddd"
FOUR = "123321412...", "1233224125.3", ".3332342251.", "12332441251."
"""Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, University of Pennsylvania, examples A to C."""


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
