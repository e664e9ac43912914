"""Bradley-Terry strengths from a table of wins, with intervals over probe clusters."""

import numpy as np
from scipy.special import expit

from iikata.core.rng import stream_seed

RESAMPLES = 2000
LEAST_CLUSTERS = 10
"""Below this, resampled clusters spread too little and an interval would be too narrow."""
MOST_STEPS = 200


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Return log strengths [..., K], mean 0, for wins[..., K, K]: row's wins over column, a tie half to each.

    P(i beats j) = 1 / (1 + exp(s_j - s_i)) (Bradley & Terry 1952), at the maximum of the likelihood and of a weak
    prior: each player has tied once with one of strength 0. So a player that never lost stays finite, players that
    never met have a place, and with many games nothing changes.
    """
    games = wins + np.swapaxes(wins, -1, -2)
    s: np.ndarray = np.zeros(wins.shape[:-1])
    for _ in range(MOST_STEPS):
        p, prior = expit(s[..., :, None] - s[..., None, :]), expit(s)
        slope = (wins - games * p).sum(axis=-1) + 0.5 - prior
        spread = games * p * (1 - p)
        curve = np.eye(s.shape[-1]) * (spread.sum(axis=-1) + prior * (1 - prior))[..., None] - spread
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        # Newton's step; within 1 the curvature changes by a factor of e at most, so it cannot run away.
        s = s + step / np.maximum(1.0, np.abs(step).max(axis=-1, keepdims=True))
        if np.abs(step).max() < 1e-10:
            break
    return s - s.mean(axis=-1, keepdims=True)


def intervals(wins: np.ndarray, level: float = 0.95) -> np.ndarray | None:
    """Return [K, 2], the percentile bootstrap over clusters of wins[cluster, K, K]; None below ten clusters.

    The cluster is resampled whole (Davison & Hinkley 1997, 3.8): choices about one question are alike, whoever made
    them. The seeds that were trained are taken as they are.
    """
    C = len(wins)
    if C < LEAST_CLUSTERS:
        return None
    dice = np.random.default_rng(stream_seed("rate strengths", C))
    times = dice.multinomial(C, np.full(C, 1 / C), size=RESAMPLES)
    found = bradley_terry(np.einsum("bc,cij->bij", times, wins))
    tail = (1 - level) / 2
    return np.quantile(found, [tail, 1 - tail], axis=0).T
