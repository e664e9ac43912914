"""How the primary metric runs along a numeric factor: each variant's mean, with an interval to compare points by."""

from collections.abc import Container, Iterator, Sequence
from typing import Any

import numpy as np

from iikata.core.records import Variant
from iikata.metrics import Metric
from iikata.stats.estimate import finite
from iikata.stats.factors import LevelChoice, factors_of, number, own_prompt, varying
from iikata.stats.interval import estimate
from iikata.stats.pairing import Settings, choosing_third, on_common_clusters
from iikata.stats.table import Panel

Rows = dict[int | None, int]


def profiles(
    panel: Panel, info: Metric, choice: LevelChoice | None, third_aside: bool, alpha: float
) -> list[dict[str, Any]]:
    """Return a profile of each factor that varies and is numeric, on what is tested alone.

    Not tested are a choice's seeds, and with a choice or `third_aside` the choosing third of the clusters.

    A profile holds `curves`, one for each combination of the other settings, and their `points`, lowest level first.
    """
    without = choice.seeds if choice else frozenset[int]()
    tested = ~choosing_third(panel.clusters) if choice or third_aside else None
    found = (_profile(factor, panel, info, without, tested, alpha) for factor in varying(panel.variants))
    return [one for one in found if one["curves"]]


def _profile(
    factor: str, panel: Panel, info: Metric, without: Container[Any], tested: np.ndarray | None, alpha: float
) -> dict[str, Any]:
    curves = _curves(factor, panel, without)
    shown = [one for curve in curves.values() for one in curve]
    seeds = sorted(set.intersection(*(set(rows) for _, rows in shown)), key=str) if shown else []
    found = on_common_clusters(panel, {v.name: [rows[seed] for seed in seeds] for v, rows in shown}, tested)
    told, values = [], np.stack([*found.values()]) if found else np.zeros((0, 0, 0))
    if found:
        points = _points(values, factor, panel, [variant for variant, _ in shown], info, alpha)
        told = [{"levels": dict(levels), "points": [next(points) for _ in curve]} for levels, curve in curves.items()]
    counts = {"n_seeds": values.shape[1], "n_clusters": values.shape[2]}
    return {"factor": factor, "metric": info.name, "level": 1 - alpha, **counts, "curves": told}


def _curves(factor: str, panel: Panel, without: Container[Any]) -> dict[Settings, list[tuple[Variant, Rows]]]:
    """Return the variants that differ in a numeric factor alone, by their other settings; two or more a curve.

    Beside each its {seed: row} of what is tested; one that failed to score under a seed has no mean over seeds.
    """
    rest = [name for name in varying(panel.variants) if name != factor]
    curves: dict[Settings, list[tuple[float, Variant, Rows]]] = {}
    for variant in panel.variants.values():
        levels, rows = factors_of(variant), panel.rows(variant.name, own_prompt(panel, variant))
        rows = {seed: row for seed, row in rows.items() if seed not in without}
        scored = all(np.isfinite(panel.mean[row]).any() for row in rows.values())
        if (value := number(levels.get(factor, ""))) is not None and rows and scored:
            settings = tuple((name, levels.get(name, "")) for name in rest)
            curves.setdefault(settings, []).append((value, variant, rows))
    return {
        settings: [one[1:] for one in sorted(curve, key=lambda one: one[0])]
        for settings, curve in curves.items()
        if len(curve) > 1
    }


def _points(
    values: np.ndarray, factor: str, panel: Panel, variants: Sequence[Variant], info: Metric, alpha: float
) -> Iterator[dict[str, Any]]:
    """Yield each variant's mean. What a seed and a cluster do to all variants alike is taken out of its interval.

    Without that the intervals would show how unlike the rows are, which every comparison cancels. Cousineau (2005),
    with Morey's (2008) factor for what centring on V means takes away: of two points, each interval is the paired
    difference's divided by sqrt(2).
    """
    means = values.mean(axis=(1, 2))
    found = estimate(values - values.mean(axis=0) + values.mean(), alpha, info.span)
    halves = found.half * np.sqrt(len(variants) / (len(variants) - 1))
    low, high = info.bounds or (-np.inf, np.inf)
    for variant, mean, half in zip(variants, means.tolist(), halves.tolist(), strict=True):
        level = factors_of(variant)[factor]
        ends = (max(low, mean - half), min(high, mean + half)) if np.isfinite(half) else None
        where = {"variant": variant.name, "prompted_with": own_prompt(panel, variant)}
        yield {"level": level, "value": number(level), **where, "mean": finite(mean), "interval": ends}
