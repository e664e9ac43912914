"""Bradley-Terry strengths are the maximum of the likelihood with its prior, and intervals go over clusters."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import brentq
from scipy.special import expit

from iikata.rating.strengths import bradley_terry, intervals

BASEBALL = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ],
    dtype=float,
)
"""Wins of 1987's American League East: Milwaukee, Detroit, Toronto, New York, Boston, Cleveland, Baltimore.

Agresti (2002), Categorical Data Analysis, 2nd ed., table 10.10.
"""
PUBLISHED = [1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0]
"""The same book's fit, section 10.6: log strengths over Baltimore's."""


def test_two_players_have_the_log_odds_of_their_wins_where_games_are_many():
    s = bradley_terry(np.array([[0.0, 7.5e6], [2.5e6, 0.0]]))
    assert s[0] - s[1] == pytest.approx(math.log(3), abs=1e-5)


def test_two_players_with_few_games_solve_the_likelihoods_own_equation():
    """By symmetry s and -s: 3 wins of 4 and a tie with 0 give 3 + 1/2 = 4 expit(2 s) + expit(s)."""
    s = bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]]))
    assert s[0] == pytest.approx(brentq(lambda x: 3.5 - 4 * expit(2 * x) - expit(x), 0, 3), abs=1e-9)
    assert s[1] == -s[0]


def test_a_published_table_of_wins_gives_the_published_strengths():
    """A prior of one tie a player in 78 games moves them by less than 0.1."""
    s = bradley_terry(BASEBALL)
    assert s - s[-1] == pytest.approx(PUBLISHED, abs=0.1)
    many = bradley_terry(BASEBALL * 1000)
    assert many - many[-1] == pytest.approx(PUBLISHED, abs=0.006)


def test_strengths_are_those_of_a_logistic_regression_with_the_prior_as_rows():
    wins = np.random.default_rng(1).integers(0, 7, size=(5, 5)) / 2
    np.fill_diagonal(wins, 0)
    rows, won, times = [], [], []
    for i in range(5):
        rows += [np.eye(5)[i]] * 2
        won, times = [*won, 1.0, 0.0], [*times, 0.5, 0.5]
        for j in range(5):
            rows.append(np.eye(5)[i] - np.eye(5)[j])
            won.append(1.0)
            times.append(wins[i, j])
    keep = np.array(times) > 0
    model = sm.GLM(
        np.array(won)[keep], np.array(rows)[keep], sm.families.Binomial(), freq_weights=np.array(times)[keep]
    )
    params = model.fit(tol=1e-12).params
    assert bradley_terry(wins) == pytest.approx(params - params.mean(), abs=1e-6)


@pytest.mark.parametrize("games", [1, 30, 10_000])
def test_who_never_lost_stays_finite_and_first(games):
    s = bradley_terry(np.array([[0, games, games], [0, 0, games / 2], [0, games / 2, 0.0]]))
    assert np.isfinite(s).all()
    assert s[0] > s[1] == pytest.approx(s[2])
    assert s.sum() == pytest.approx(0, abs=1e-9)


def test_players_that_never_met_and_never_played_have_a_place():
    assert bradley_terry(np.zeros((3, 3))) == pytest.approx(0)
    apart = np.zeros((4, 4))
    apart[0, 1] = apart[2, 3] = 5
    s = bradley_terry(apart)
    assert s[0] == pytest.approx(s[2])
    assert s[1] == pytest.approx(s[3])


def test_many_tables_at_once_are_each_its_own():
    tables = np.stack([BASEBALL, BASEBALL.T, np.zeros((7, 7))])
    assert bradley_terry(tables) == pytest.approx(np.stack([bradley_terry(t) for t in tables]), abs=1e-9)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """60 experiments of 20 clusters with an effect of their own: 95% +- 4 standard errors of 2.8 points."""
    dice, truth, covered = np.random.default_rng(3), 0.8, 0
    for _ in range(60):
        p = expit(2 * truth + dice.normal(0, 0.5, 20))
        won = dice.binomial(8, p)
        wins = np.zeros((20, 2, 2))
        wins[:, 0, 1], wins[:, 1, 0] = won, 8 - won
        low, high = intervals(wins)[0]
        covered += low <= truth <= high
    assert covered / 60 > 0.95 - 4 * 0.028


def test_intervals_are_the_same_each_time_and_hold_the_estimate():
    wins = np.random.default_rng(4).poisson(BASEBALL / 2, (12, 7, 7)).astype(float)
    found = intervals(wins)
    assert (found == intervals(wins)).all()
    s = bradley_terry(wins.sum(axis=0))
    assert ((found[:, 0] <= s) & (s <= found[:, 1])).all()


def test_below_ten_clusters_there_is_no_interval():
    assert intervals(np.stack([BASEBALL] * 9)) is None
    assert intervals(np.stack([BASEBALL] * 10)).shape == (7, 2)
