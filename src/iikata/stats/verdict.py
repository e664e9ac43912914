"""The ordered rules that turn an interval into a verdict, and the corrections for many comparisons."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS, MeanSquares, settles


def holm(p: Sequence[float]) -> np.ndarray:
    """Return p adjusted by Holm (1979): the chance of any false find in the family stays below alpha."""
    order = np.argsort(p)
    steps = np.arange(len(order), 0, -1) * np.asarray(p, dtype=float)[order]
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Return p adjusted by Benjamini & Hochberg (1995): the share of false finds stays below alpha."""
    order = np.argsort(p)[::-1]
    steps = np.asarray(p, dtype=float)[order] * len(order) / np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(steps))
    return adjusted


def verdict(
    gates: Sequence[Any],
    interval: tuple[float, float] | None,
    interval_90: tuple[float, float] | None,
    margin: float | None,
    p_adjusted: float | None,
    p_permutation: float | None,
    both_few: bool,
    alpha: float,
) -> tuple[str, bool | None]:
    """Return (verdict, beyond_margin) by the first rule that holds.

    `gates` are the failed ones; `p_permutation` None means that the cross-check does not apply; `both_few`: neither
    seeds nor clusters suffice.
    """
    if gates:
        return "NOT_ASSESSABLE", None
    if interval is None or interval_90 is None or both_few:
        return "INCONCLUSIVE", None
    if margin is not None and -margin < interval_90[0] and interval_90[1] < margin:
        return ("EQUIVALENT" if interval[0] <= 0 <= interval[1] else "SMALL"), None
    agrees = p_permutation is None or p_permutation < alpha
    if p_adjusted is not None and p_adjusted < alpha and agrees:
        return "MATTERS", None if margin is None else interval[0] > margin or interval[1] < -margin
    return "INCONCLUSIVE", None


def template_matters(verdicts: Sequence[str | None]) -> str:
    """Return the summary of the primary metric's matched pairs."""
    for word in ("MATTERS", "NOT_ASSESSABLE", "INCONCLUSIVE", "SMALL"):
        if word in verdicts:
            return word
    return "EQUIVALENT" if verdicts else "NOT_ASSESSABLE"


def lora_needed(verdict: str | None, improved: bool) -> str:
    """Return the summary of the comparison with the best base; None where there is none."""
    if verdict == "MATTERS":
        return "YES" if improved else "HARMED"
    return "NO" if verdict == "EQUIVALENT" else verdict or "NOT_ASSESSABLE"


def prompt_must_match(found: Sequence[tuple[str | None, bool]]) -> str:
    """Return the summary of the primary metric's mismatches, each a verdict and whether the other template gained.

    The question is what it costs to prompt otherwise, so a gain counts as no cost.
    """
    return template_matters(["EQUIVALENT" if gained else verdict for verdict, gained in found])


MOST_SEEDS, MOST_TIMES_CLUSTERS = 64, 100


def needed(ms: MeanSquares, goal: float, alpha: float, equivalence: bool) -> dict[str, int] | None:
    """Return the cheapest {"seeds", "clusters"}, none fewer than now, that settle `goal` with 80% power.

    That is power to find a difference of `goal`, and where `equivalence` also to show that one of 0 lies within it.
    Cheapest: the smallest seeds x clusters; None beyond 64 seeds or 100 times the clusters.
    """
    components = ms.components
    clusters = max(ms.C, MIN_CLUSTERS)
    found: tuple[int, int] | None = None
    most = MOST_TIMES_CLUSTERS * clusters
    for seeds in range(max(ms.S, MIN_SEEDS), max(ms.S, MOST_SEEDS) + 1):
        if found:
            most = (found[0] * found[1] - 1) // seeds  # more clusters with these seeds would be no cheaper
        if most < clusters:
            break
        if fewest := _fewest_clusters(components, seeds, clusters, most, goal, alpha, equivalence):
            found = (seeds, fewest)
    return {"seeds": found[0], "clusters": found[1]} if found else None


def _fewest_clusters(
    components: tuple[Any, ...], S: int, C: int, most: int, goal: float, alpha: float, equivalence: bool
) -> int | None:
    """Bisect for the fewest clusters, from C to `most`, that reach the goal with S seeds: more are never worse."""

    def enough(clusters: int) -> bool:
        detect = settles(*components, S, clusters, alpha / 2, 0.2)
        within = settles(*components, S, clusters, alpha, 0.1) if equivalence else detect
        return max(detect, within) <= goal

    return C + bisect_left(range(C, most), True, key=enough) if enough(most) else None
