"""The five questions: which cells answer each of them, and the noise floor."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import chdtri

from iikata.stats.metric import MetricInfo
from iikata.stats.pairing import Pair, Side, choosing_third, complete_clusters, pair
from iikata.stats.table import Panel


@dataclass(frozen=True)
class Contrast:
    """Two sides of one question, paired."""

    question: str
    treatment: Side
    control: Side
    pair: Pair
    detail: dict[str, Any] = field(default_factory=dict)


def templates(panel: Panel) -> list[str]:
    """Return the templates that arms were trained on and prompted with alike, in order of appearance."""
    return list(dict.fromkeys(t for t, _, p in panel.cells if t is not None and t == p))


def contrasts(panel: Panel, info: MetricInfo) -> Iterator[Contrast]:
    """Yield every contrast that the panel's cells and the metric allow; the noise floor is apart."""
    for one in _contrasts(panel, info):
        if not info.within_template or one.question == "tuned_vs_base":
            yield one


def _contrasts(panel: Panel, info: MetricInfo) -> Iterator[Contrast]:
    sides = list(dict.fromkeys(Side(t, p) for t, _, p in panel.cells))
    matched = {t: Side(t, t) for t in templates(panel)}
    for one, two in combinations(matched.values(), 2):
        yield Contrast("matched", one, two, pair(panel, one, two))
    for t, side in matched.items():
        if (base := Side(None, t)) in sides:
            yield Contrast("tuned_vs_base", side, base, pair(panel, side, base))
    if info.better != "none":
        yield from _against_best_base(panel, info, matched)
    for side in sides:
        if side not in matched.values() and side.trained_on in matched:
            control = matched[side.trained_on]
            yield Contrast("mismatch", side, control, pair(panel, side, control))


def _against_best_base(panel: Panel, info: MetricInfo, matched: dict[str, Side]) -> Iterator[Contrast]:
    """Choose the base's best template on one third of the clusters; test on the other two, never the reverse.

    Choosing and testing on the same clusters would favour the base, whose best is the luckiest of several.
    """
    base = {p: panel.rows(None, p) for t, _, p in panel.cells if t is None}
    choosing = choosing_third(panel.clusters)
    best, of_base = _best(panel, info, base, choosing)
    best_tuned, of_tuned = _best(panel, info, {t: panel.rows(t, t) for t in matched}, choosing)
    for t, side in matched.items() if base else ():
        control = Side(None, best or next(iter(base)))
        detail = {
            "choosing_clusters": int(choosing.sum()),
            "base_on_choosing": of_base,
            "tuned_on_choosing": of_tuned,
            "best_on_choosing": t == (best_tuned or next(iter(matched))),
        }
        yield Contrast("tuned_vs_best_base", side, control, pair(panel, side, control, ~choosing), detail)


def _best(
    panel: Panel, info: MetricInfo, rows: dict[str, dict[int | None, int]], choosing: np.ndarray
) -> tuple[str | None, dict[str, float]]:
    """Return the template with the best mean on the clusters that all of them answer, and all means."""
    scored = {t: [r for r in group.values() if np.isfinite(panel.mean[r]).any()] for t, group in rows.items()}
    scored = {t: group for t, group in scored.items() if group}
    values, _, _ = complete_clusters(panel, [r for group in scored.values() for r in group], choosing)
    if not values.size:
        return None, {}
    ends = np.cumsum([len(group) for group in scored.values()])[:-1]
    means = {t: float(part.mean()) for t, part in zip(scored, np.split(values, ends), strict=True)}
    return (max if info.better == "higher" else min)(means, key=means.__getitem__), means


@dataclass(frozen=True)
class NoiseFloor:
    """How far two seeds of one template typically lie apart."""

    side: Side
    values: np.ndarray
    """[S, C] on the clusters that all its seeds answer."""
    seeds: list[int | None]
    n_probes: int
    n_samples: int
    left_out: dict[str, int]

    @property
    def size(self) -> float | None:
        """sqrt(2) x SD of the seed means; None with a single seed."""
        S, C = self.values.shape
        return float(np.sqrt(2) * self.values.mean(axis=1).std(ddof=1)) if S > 1 and C else None

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """Return the chi-square interval of a standard deviation."""
        if self.size is None:
            return None
        df = len(self.values) - 1
        return tuple(float(self.size * np.sqrt(df / chdtri(df, tail))) for tail in (alpha / 2, 1 - alpha / 2))  # type: ignore[return-value]


def noise_floor(panel: Panel, template: str) -> NoiseFloor:
    """Hold a template against itself over its seeds."""
    rows = panel.rows(template, template)
    values, n_probes, left_out = complete_clusters(panel, list(rows.values()))
    n_samples = int(panel.scored[list(rows.values())].max(initial=0))
    return NoiseFloor(Side(template, template), values, list(rows), n_probes, n_samples, left_out)
