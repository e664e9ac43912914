"""Estimate a mean difference over seeds and probe clusters, with an interval that may be trusted.

All functions take d[..., S, C] (seeds x clusters) and work on any leading axes, so that the calibration
in bench/calibration.py runs this very code on thousands of simulated experiments at once.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

MIN_SEEDS = 3
MIN_CLUSTERS = 10
POWER = 0.8


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of the two-way layout without replication (Searle, Casella & McCulloch 1992, ch. 4)."""

    seed: np.ndarray
    cluster: np.ndarray
    residual: np.ndarray
    S: int
    C: int

    @property
    def components(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Variance components (seed, cluster, residual), negative estimates set to 0.

        With a single seed all spread is the clusters', with a single cluster the seeds': what cannot be told apart
        is not lost.
        """
        if self.S < 2 or self.C < 2:
            return np.nan_to_num(self.seed / self.C), np.nan_to_num(self.cluster / self.S), np.zeros_like(self.seed)
        return (
            np.maximum((self.seed - self.residual) / self.C, 0.0),
            np.maximum((self.cluster - self.residual) / self.S, 0.0),
            self.residual,
        )


def mean_squares(d: np.ndarray) -> MeanSquares:
    """Return the mean squares of d[..., S, C]; those without degrees of freedom are NaN."""
    S, C = d.shape[-2:]
    mean = d.mean(axis=(-2, -1), keepdims=True)
    seeds, clusters = d.mean(axis=-1, keepdims=True), d.mean(axis=-2, keepdims=True)
    residual = d - seeds - clusters + mean
    nan = np.full(d.shape[:-2], np.nan)
    return MeanSquares(
        seed=C * ((seeds - mean) ** 2).sum(axis=(-2, -1)) / (S - 1) if S > 1 else nan,
        cluster=S * ((clusters - mean) ** 2).sum(axis=(-2, -1)) / (C - 1) if C > 1 else nan,
        residual=(residual**2).sum(axis=(-2, -1)) / ((S - 1) * (C - 1)) if S > 1 and C > 1 else nan,
        S=S,
        C=C,
    )


def scope_of(S: int, C: int) -> str:
    """Return what an interval from S seeds and C clusters speaks about."""
    if S >= MIN_SEEDS:
        return "recipe" if C >= MIN_CLUSTERS else "these_probes"
    return "these_adapters"


def forms(ms: MeanSquares) -> tuple[np.ndarray, np.ndarray]:
    """Return (standard error, degrees of freedom) of every form that applies, each [form, ...].

    recipe: seed-level t, cluster-level t and the two-way form with Satterthwaite's df (1946); the latter is NaN
    where a component is estimated at or below 0, since it then is one of the other two.
    Few seeds: cluster-level t on the seed means. Few clusters: seed-level t. Both few: both, as far as they exist.
    """
    S, C = ms.S, ms.C
    by_seed, by_cluster = np.sqrt(ms.seed / (S * C)), np.sqrt(ms.cluster / (S * C))
    at_seed, at_cluster = np.full(by_seed.shape, S - 1.0), np.full(by_seed.shape, C - 1.0)
    if S < MIN_SEEDS and C >= MIN_CLUSTERS:
        return by_cluster[None], at_cluster[None]
    if S >= MIN_SEEDS and C < MIN_CLUSTERS:
        return by_seed[None], at_seed[None]
    if S < MIN_SEEDS:
        return np.array([by_seed, by_cluster]), np.array([at_seed, at_cluster])
    parts = ms.seed**2 / (S - 1) + ms.cluster**2 / (C - 1) + ms.residual**2 / ((S - 1) * (C - 1))
    both, df = two_way(ms.seed, ms.cluster, ms.residual, parts)
    return np.array([np.sqrt(both / (S * C)), by_seed, by_cluster]), np.array([df, at_seed, at_cluster])


def two_way(
    seed: np.ndarray, cluster: np.ndarray, rest: np.ndarray, parts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (variance, df) of both levels together, the residual counted once; NaN where a component is none.

    `parts` are the sums of squares over their df.
    """
    total, both = seed + cluster - rest, (seed > rest) & (cluster > rest)
    df = np.divide(total**2, parts, out=np.ones_like(total), where=both & (parts > 0))
    return np.where(both, total, np.nan), df


def widest(se: np.ndarray, df: np.ndarray, *tails: float) -> np.ndarray:
    """Return the largest over forms of se x (sum of the t quantiles at 1 - tail); NaN where no form exists."""
    quantiles = sum(stdtrit(df, 1 - tail) for tail in tails)
    return _largest(np.where(df > 0, quantiles * se, np.nan))


def _largest(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return np.where(known.any(axis=0), np.where(known, values, -np.inf).max(axis=0), np.nan)


@dataclass(frozen=True)
class Estimate:
    """A mean difference; every array has the leading axes of d."""

    difference: np.ndarray
    half: np.ndarray
    """Half width of the (1 - alpha) interval; NaN where the data give none."""
    half_90: np.ndarray
    """Half width of the (1 - 2 alpha) interval, the one for equivalence."""
    p: np.ndarray
    mde: np.ndarray
    """Smallest true difference that this design finds with 80% power."""
    identical: np.ndarray
    """True where all clusters have the same difference."""
    squares: MeanSquares


def estimate(d: np.ndarray, alpha: float, span: float | None = None) -> Estimate:
    """Estimate the mean of d[..., S, C]; `span` is the range of a bounded metric (upper bound - lower bound).

    The interval is the widest of the forms that the scope allows and p the largest. Where all clusters have the
    same difference, t has nothing to go by: a bounded metric gets +- (1 - alpha^(1/C)) x span (the clusters that
    would differ are fewer than that share, at level 1 - alpha), an unbounded one whatever the seeds say.
    """
    ms = mean_squares(d)
    size = np.abs(d).max(axis=(-2, -1))
    return concluded(d.mean(axis=-2), size, forms(ms), ms, alpha, span)


def concluded(
    means: np.ndarray,
    size: np.ndarray,
    forms: tuple[np.ndarray, np.ndarray],
    ms: MeanSquares,
    alpha: float,
    span: float | None,
) -> Estimate:
    """Return the estimate that follows from the clusters' differences means[..., C] and the forms (se, df).

    `size` is the largest number behind them.
    """
    difference = means.mean(axis=-1)
    # Sums of equal floats differ in the last bits; without this a constant score would get p = 0.
    rounding = 1e-12 * np.maximum(1.0, size)
    identical = np.ptp(means, axis=-1) <= rounding
    se, df = forms
    se = np.where(se <= rounding, np.nan, se)
    half, half_90 = widest(se, df, alpha / 2), widest(se, df, alpha)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = _largest(np.where(df > 0, 2 * stdtr(df, -np.abs(difference) / se), np.nan))
    if span is not None:
        half = _rule(half, identical, (1 - alpha ** (1 / ms.C)) * span)
        half_90 = _rule(half_90, identical, (1 - (2 * alpha) ** (1 / ms.C)) * span)
        p = _rule(p, identical, np.maximum(0.0, 1 - np.abs(difference) / span) ** ms.C)
    return Estimate(difference, half, half_90, p, widest(se, df, alpha / 2, 1 - POWER), identical, ms)


def _rule(value: np.ndarray, identical: np.ndarray, least: float | np.ndarray) -> np.ndarray:
    """Where the clusters are identical, return at least what the rule for identical clusters says."""
    return np.where(identical, np.fmax(value, least), value)


def settles(seed: float, cluster: float, residual: float, S: int, C: int, *tails: float) -> float:
    """Return widest(...) for the mean squares that these variance components lead one to expect.

    With tails (alpha / 2, 0.2): the smallest difference found with 80% power; with (alpha, 0.1): the smallest margin
    within which no difference at all is shown to lie with 80% power.
    """
    squares = (np.asarray(residual + part) for part in (C * seed, S * cluster, 0.0))
    return float(widest(*forms(MeanSquares(*squares, S=S, C=C)), *tails))  # type: ignore[misc, arg-type]
