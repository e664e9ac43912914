"""Compare two variants whose seeds have nothing in common: adapters from elsewhere, each a replicate of its own side.

Paired in the order of listing, some other order would find p < 0.05 in up to 14% of the experiments without any
difference (bench/calibration_unpaired.py). All functions work on any leading axes, as in stats.interval.
"""

import numpy as np

from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS, Estimate, MeanSquares, concluded, mean_squares, two_way


def estimate_unpaired(treatment: np.ndarray, control: np.ndarray, alpha: float, span: float | None = None) -> Estimate:
    """Estimate the mean of treatment[..., S_A, C] less that of control[..., S_B, C].

    Clusters are common, seeds are not. A side of fewer than 3 seeds is taken as fixed: the estimate speaks about
    these adapters. `span` as in stats.interval.estimate.
    """
    sides = [mean_squares(side) for side in (treatment, control)]
    means = treatment.mean(axis=-2) - control.mean(axis=-2)
    size = np.maximum(*(np.abs(side).max(axis=(-2, -1)) for side in (treatment, control)))
    return concluded(means, size, forms(sides, means), as_paired(sides, means), alpha, span)


def forms(sides: list[MeanSquares], means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (standard error, degrees of freedom) of every form that applies, each [form, ...].

    Seed level: sqrt(MS_A / (S_A C) + MS_B / (S_B C)) over the sides that are not fixed, with the df of the smaller.
    Cluster level: t on the differences of means. Two-way: their sum less the residuals, which both hold, its df by
    Satterthwaite (1946), capped at the seed level's.
    """
    C, free = means.shape[-1], [side for side in sides if side.S >= MIN_SEEDS]
    cluster = means.var(axis=-1, ddof=1) / C if C > 1 else np.full(means.shape[:-1], np.nan)
    at_cluster = np.full(cluster.shape, C - 1.0)
    if not free:
        return np.sqrt(cluster)[None], at_cluster[None]
    of_seeds = [side.seed / (side.S * C) for side in free]
    seed, least = sum(of_seeds), min(side.S for side in free) - 1.0
    at_seed = np.full(cluster.shape, least)
    if C < MIN_CLUSTERS and len(free) == len(sides):
        return np.sqrt(seed)[None], at_seed[None]
    residuals = [side.residual / (side.S * C) for side in free]
    rest = sum(residuals)
    dfs = [*((part, side.S - 1) for part, side in zip(of_seeds, free, strict=True)), (cluster, C - 1)]
    dfs += [(part, (side.S - 1) * (C - 1)) for part, side in zip(residuals, free, strict=True)]
    parts = sum(part**2 / df for part, df in dfs if df)
    both, df = two_way(seed, cluster, rest, parts)
    return np.sqrt(np.stack([both, seed, cluster])), np.stack([np.minimum(df, least), at_seed, at_cluster])


def as_paired(sides: list[MeanSquares], means: np.ndarray) -> MeanSquares:
    """Return the mean squares of a paired layout with as many seeds as the smaller side and the same components.

    What more seeds or clusters would settle follows from these. A side with a single seed adds none of its spread.
    """
    S, C = min(side.S for side in sides), means.shape[-1]
    residuals = [np.nan_to_num(side.residual) for side in sides]
    rest = sum(residuals)
    seed = sum(np.maximum(np.nan_to_num(side.seed) - own, 0.0) / C for side, own in zip(sides, residuals, strict=True))
    noise = sum(own / side.S for side, own in zip(sides, residuals, strict=True))
    spread = means.var(axis=-1, ddof=1) if C > 1 else np.zeros(means.shape[:-1])
    cluster = np.maximum(spread - noise, 0.0)
    return MeanSquares(seed=C * seed + rest, cluster=S * cluster + rest, residual=rest + 0 * cluster, S=S, C=C)
