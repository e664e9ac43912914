"""Pair two cells by seed and probe cluster, counting what cannot be paired."""

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from iikata.core.records import ELSEWHERE
from iikata.metrics import Metric
from iikata.stats.table import Panel

T = TypeVar("T")
Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Side:
    """What was trained and how it was prompted, over all seeds: one cell a seed, or the mean of several."""

    trained_on: str | None
    """The variant's name, or that of a level where it is averaged over other settings; None is the base."""
    prompted_with: str
    cells: tuple[tuple[str | None, str], ...]
    """(trained_on, prompted_with) of what is averaged."""
    levels: Settings = ()
    """The settings that tell the variant from others; nothing where that is the template alone."""
    draws: frozenset[int | None] | None = None
    """Of the untuned model with examples: which draws of them count; None for any other side."""

    @classmethod
    def of(cls, trained_on: str | None, prompted_with: str, levels: Settings = (), **more: Any) -> "Side":
        """Return a single cell a seed."""
        return cls(trained_on, prompted_with, ((trained_on, prompted_with),), levels, **more)

    @property
    def elsewhere(self) -> bool:
        """Whether it was trained elsewhere."""
        return ELSEWHERE in self.levels


@dataclass(frozen=True)
class Pair:
    """Two sides on common seeds and complete clusters."""

    treatment: np.ndarray
    """[S, C]: mean over the cluster's probes of each probe's mean over samples."""
    control: np.ndarray
    """[S, C]; the base's row is repeated for every seed."""
    seeds: list[int | None]
    """Behind the rows of the treatment."""
    control_seeds: list[int | None]
    paired: bool
    """Whether a seed means the same on both sides."""
    n_probes: int
    n_samples: int
    """Most samples behind one answer's mean."""
    missing: tuple[float, float]
    """Share of the samples of treatment and control that could not be scored."""
    left_out: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Seeds, of the side that has fewer, and clusters."""
        return min(len(self.treatment), len(self.control)), self.treatment.shape[1]

    @property
    def d(self) -> np.ndarray:
        """The differences [S, C], of paired sides only."""
        d: np.ndarray = self.treatment - self.control
        return d

    @property
    def means(self) -> np.ndarray:
        """The clusters' differences [C], averaged over each side's seeds."""
        means: np.ndarray = self.treatment.mean(axis=0) - self.control.mean(axis=0)
        return means


def pair(
    panel: Panel, treatment: Side, control: Side, chosen: np.ndarray | None = None, without: Container[Any] = ()
) -> Pair:
    """Pair two sides; `chosen` (bool[cluster]) narrows the clusters, `without` the seeds. S or C may come out as 0.

    Two variants of which one was trained elsewhere share clusters alone, as do a variant and the untuned model with
    examples, whose draws have nothing to do with seeds: each side keeps its own.
    """
    sides = treatment, control
    unpaired = apart(treatment, control)
    rows = [[_chosen(panel.rows(*cell), side, without) for cell in side.cells] for side in sides]
    tuned = [set(of) for side, cells in zip(sides, rows, strict=True) for of in cells if side.trained_on is not None]
    base = [of for side, cells in zip(sides, rows, strict=True) for of in cells if side.trained_on is None]
    # The base has no seed: its row is repeated for every seed.
    common = set.intersection(*tuned) if tuned and all(base) else set()
    of_side = [set.intersection(*map(set, cells)) if unpaired else common for cells in rows]
    seeds, own = (sorted(of, key=lambda s: (s is not None, s)) for of in of_side)
    rows_t, rows_c = (
        [[of[s if s in of else None] for s in mine] for of in cells]
        for cells, mine in zip(rows, (seeds, own), strict=True)
    )
    flat_t, flat_c = ([row for cell in side for row in cell] for side in (rows_t, rows_c))
    values, n_probes, left_out = complete_clusters(panel, flat_t + flat_c, chosen)
    C = values.shape[1]
    return Pair(
        treatment=values[: len(flat_t)].reshape(len(rows_t), len(seeds), C).mean(axis=0),
        control=values[len(flat_t) :].reshape(len(rows_c), len(own), C).mean(axis=0),
        seeds=seeds,
        control_seeds=own,
        paired=not unpaired,
        n_probes=n_probes,
        n_samples=int(panel.scored[flat_t + flat_c].max(initial=0)),
        missing=(_missing(panel, flat_t), _missing(panel, flat_c)),
        left_out={"seeds": [] if unpaired else sorted(map(str, set().union(*tuned) - common)), **left_out},
    )


def apart(one: Side, two: Side) -> bool:
    """Return whether two sides have no seed in common: trained elsewhere, or draws of examples."""
    if one.draws is not None or two.draws is not None:
        return True
    trained = one.trained_on is not None and two.trained_on is not None
    return trained and one.trained_on != two.trained_on and (one.elsewhere or two.elsewhere)


def _chosen(rows: dict[int | None, int], side: Side, without: Container[Any]) -> dict[int | None, int]:
    if side.draws is not None:
        return {draw: row for draw, row in rows.items() if draw in side.draws}
    return {seed: row for seed, row in rows.items() if seed not in without}


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


def on_common_clusters(
    panel: Panel, groups: Mapping[T, Sequence[int]], chosen: np.ndarray | None = None
) -> dict[T, np.ndarray]:
    """Return each group's rows [row, cluster] on the clusters that are complete for all of them; {} without any."""
    values, _, _ = complete_clusters(panel, [row for rows in groups.values() for row in rows], chosen)
    ends = np.cumsum([len(rows) for rows in groups.values()])[:-1]
    return dict(zip(groups, np.split(values, ends), strict=True)) if values.size else {}


def best_of(means: Mapping[T, float], info: Metric) -> T:
    """Return the name with the best mean, the first of equal ones."""
    return (max if info.better == "higher" else min)(means, key=means.__getitem__)


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
