"""A margin declared as a share of what tuning gains: measured on clusters that no comparison of the metric tests."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from iikata.core.margin import share_of_gain
from iikata.metrics import Metric
from iikata.stats.factors import own_prompt
from iikata.stats.interval import estimate
from iikata.stats.pairing import choosing_third, on_common_clusters
from iikata.stats.questions import choosing_draws
from iikata.stats.table import Panel


@dataclass(frozen=True)
class Gain:
    """What tuning gains over the best untuned model, and the margin that follows."""

    share: float
    gain: float
    interval: tuple[float, float] | None
    """At the level of the comparisons' own; None where the scores give none."""
    seeds: int
    clusters: int

    @property
    def margin(self) -> float | None:
        """The share of the gain; None where the interval does not lie above 0, for then there may be none."""
        return self.share * self.gain if self.interval and self.interval[0] > 0 else None


def gain(panel: Panel, info: Metric, share: float, failed: Collection[str], alpha: float) -> Gain:
    """Measure the mean gain of all sound variants, each under its own template, on the choosing third of clusters.

    The untuned model is taken under its best template there, which makes the gain, and so the margin, rather too small.
    """
    sound = [v for v in panel.variants.values() if v.name not in failed]
    tuned = [rows for v in sound if (rows := panel.rows(v.name, own_prompt(panel, v)))]
    base = {p: list(choosing_draws(panel.rows(t, p)).values()) for t, p in panel.sides() if t is None}
    groups: dict[str | None, list[int]] = {p: rows for p, rows in base.items() if rows}
    seeds = sorted(set.intersection(*map(set, tuned))) if tuned and groups else []  # type: ignore[type-var]
    groups[None] = [of[seed] for of in tuned for seed in seeds]
    values = on_common_clusters(panel, groups, choosing_third(panel.clusters)) if seeds else {}
    if not values:
        return Gain(share, 0.0, None, len(seeds), 0)
    by_seed = values.pop(None)
    C = by_seed.shape[1]
    of_tuned = by_seed.reshape(len(tuned), len(seeds), C).mean(axis=0)
    of_base = np.stack([rows.mean(axis=0) for rows in values.values()])
    sign = 1 if info.better == "higher" else -1
    best = of_base[np.argmax(sign * of_base.mean(axis=1))]
    found = estimate(sign * (of_tuned - best), alpha, info.span)
    half, mean = float(found.half), float(found.difference)
    return Gain(share, mean, (mean - half, mean + half) if np.isfinite(half) else None, len(seeds), C)


def unclear(found: Mapping[str, Gain]) -> list[str]:
    """Return a warning for each metric that has no margin, since nothing clear was gained."""
    return [
        f"{metric} has no margin: it is declared as {100 * of.share:g}% of what tuning gains, and on the {of.clusters} "
        f"clusters that measure it the gain is not clear ({of.gain:.3g}"
        f"{', interval {:.3g} to {:.3g}'.format(*of.interval) if of.interval else ''}). Nothing is called EQUIVALENT."
        for metric, of in found.items()
        if of.margin is None
    ]


def gains(
    panels: Mapping[str, Panel],
    infos: Mapping[str, Metric],
    margins: Mapping[str, float | str],
    failed: Collection[str],
    alpha: float,
) -> dict[str, Gain]:
    """Return the gain for every scored metric whose margin is a share of it."""
    shares = {name: share for name, margin in margins.items() if (share := share_of_gain(margin)) is not None}
    scored = {name: panel for name, panel in panels.items() if name in shares}
    return {name: gain(panel, infos[name], shares[name], failed, alpha) for name, panel in scored.items()}
