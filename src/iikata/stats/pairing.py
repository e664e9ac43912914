"""Pair two cells by seed and probe cluster, counting what cannot be paired."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iikata.stats.table import Panel


@dataclass(frozen=True)
class Side:
    """What was trained and how it was prompted, over all seeds; `trained_on` None is the base."""

    trained_on: str | None
    prompted_with: str

    @property
    def name(self) -> str:
        return f"{self.trained_on or 'base'}@{self.prompted_with}"


@dataclass(frozen=True)
class Pair:
    """Two sides on common seeds and complete clusters."""

    treatment: np.ndarray
    """[S, C]: mean over the cluster's probes of each probe's mean over samples."""
    control: np.ndarray
    """[S, C]; the base's row is repeated for every seed."""
    seeds: list[int | None]
    n_probes: int
    n_samples: int
    """Most samples behind one answer's mean."""
    missing: tuple[float, float]
    """Share of the samples of treatment and control that could not be scored."""
    left_out: dict[str, Any]

    @property
    def d(self) -> np.ndarray:
        return self.treatment - self.control


def pair(panel: Panel, treatment: Side, control: Side, chosen: np.ndarray | None = None) -> Pair:
    """Pair two sides; `chosen` (bool[cluster]) narrows the clusters. S or C may come out as 0."""
    mine, theirs = (panel.rows(side.trained_on, side.prompted_with) for side in (treatment, control))
    if control.trained_on is None and theirs:
        theirs = dict.fromkeys(mine, theirs[None])
    seeds = sorted(mine.keys() & theirs.keys(), key=lambda s: (s is not None, s))
    rows_t, rows_c = [mine[s] for s in seeds], [theirs[s] for s in seeds]
    values, n_probes, left_out = complete_clusters(panel, rows_t + rows_c, chosen)
    return Pair(
        treatment=values[: len(seeds)],
        control=values[len(seeds) :],
        seeds=seeds,
        n_probes=n_probes,
        n_samples=int(panel.scored[rows_t + rows_c].max(initial=0)),
        missing=(_missing(panel, rows_t), _missing(panel, rows_c)),
        left_out={"seeds": sorted(map(str, mine.keys() ^ theirs.keys())), **left_out},
    )


def complete_clusters(
    panel: Panel, rows: list[int], chosen: np.ndarray | None = None
) -> tuple[np.ndarray, int, dict[str, int]]:
    """Return ([row, cluster] means, number of probes, counts of what was left out).

    A cluster is complete where each of its probes that any of the rows has is scored in all of them; a mean over
    whatever is there would compare different questions.
    """
    lines = panel.scored[rows] + panel.unscored[rows] > 0
    there = lines.any(axis=0)
    if chosen is not None:
        there &= chosen[panel.cluster_of]
    whole = there & np.isfinite(panel.mean[rows]).all(axis=0)
    broken = np.zeros(len(panel.clusters), dtype=bool)
    broken[panel.cluster_of[there & ~whole]] = True
    used = np.flatnonzero(whole & ~broken[panel.cluster_of])
    used = used[np.argsort(panel.cluster_of[used], kind="stable")]
    everywhere = there & lines.all(axis=0)
    left_out = {
        "clusters": int(broken.sum()),
        "probes": int(there.sum()) - len(used),
        "probes_without_lines": int((there & ~everywhere).sum()),
        "probes_without_numbers": int((everywhere & ~whole).sum()),
    }
    if not len(used):
        return np.zeros((len(rows), 0)), 0, left_out
    starts = np.flatnonzero(np.diff(panel.cluster_of[used], prepend=-1))
    sums = np.add.reduceat(panel.mean[rows][:, used], starts, axis=1)
    return sums / np.diff(starts, append=len(used)), len(used), left_out


def _missing(panel: Panel, rows: Sequence[int]) -> float:
    lines = (panel.scored[rows] + panel.unscored[rows]).sum()
    return float(panel.unscored[rows].sum() / lines) if lines else 0.0


def choosing_third(clusters: Sequence[str]) -> np.ndarray:
    """Return bool[cluster], True for the third whose names hash lowest: there the best template is chosen."""
    order = np.argsort([hashlib.sha256(c.encode()).hexdigest() for c in clusters])
    chosen = np.zeros(len(clusters), dtype=bool)
    chosen[order[: max(1, round(len(clusters) / 3))]] = True
    return chosen


def common_rows(panel: Panel) -> tuple[Panel, int]:
    """Leave a held-out row out of all cells where any could not score it; return how many these are.

    Bits per byte compare only where every template keeps the same text. Cells without a number do not count.
    """
    alive = np.isfinite(panel.mean).any(axis=1)
    lost = ~np.isfinite(panel.mean[alive]).all(axis=0)
    return replace(panel, mean=np.where(lost, np.nan, panel.mean)), int(lost.sum())
