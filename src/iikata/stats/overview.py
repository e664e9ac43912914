"""Tell what the scores hold: each cell's mean, what is left out, and what a reader should know beforehand."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from iikata.core.errors import IikataError
from iikata.metrics import Metric
from iikata.stats.table import Panel, ScoreTable


def assumed_metric(name: str, values: np.ndarray, better: str | None = None) -> tuple[Metric, str]:
    """Return a metric that nobody declared, and a sentence that says what was assumed of it.

    Higher is better unless told; values that all lie in 0..1 are a rate with these bounds.
    """
    known = values[np.isfinite(values)]
    rate = bool(len(known)) and bool(((known >= 0) & (known <= 1)).all())
    info = Metric.declared(name, better or "higher", (0.0, 1.0) if rate else None, "rate" if rate else "", "content")
    direction = "" if better else f"{info.better} is better, "
    bounds = "bounds 0 and 1 (all values lie there)" if rate else "no bounds"
    return info, f"metric {name} is not declared; assumed: {direction}{bounds}, kind content."


def remarks(found: Mapping[str, Panel], infos: Mapping[str, Metric], primary: str, table: ScoreTable) -> list[str]:
    """Return what is unusual in the scores; IikataError where a score lies outside its metric's bounds."""
    told = [remark for name, panel in found.items() for remark in _metric_remarks(panel, infos[name])]
    panel = found[primary]
    trained = list(dict.fromkeys(t for t, p in panel.sides() if t is not None and p in panel.own(t)))
    if len(trained) < 2:
        names = ", ".join(trained) or "none"
        told.append(f"{primary}: two templates trained and prompted alike are needed to compare; there is {names}")
    seeds = {seed for t, seed, _ in panel.cells if t is not None}
    if len(seeds) == 1:
        elsewhere = all(name in table.variants and table.variants[name].elsewhere for name in trained)
        one = "one adapter of each variant" if elsewhere else "one training seed"
        told.append(f"{primary}: {one}; nothing can be said about the recipe, only about these adapters")
    return told


def _metric_remarks(panel: Panel, info: Metric) -> list[str]:
    known, lines, told = panel.mean[np.isfinite(panel.mean)], panel.scored + panel.unscored, []
    if not len(known):
        return [f"{panel.metric}: none of its {lines.sum()} scores is a number"]
    rounding = 1e-9 * (info.span or 0.0)
    if info.bounds and not info.bounds[0] - rounding <= known.min() <= known.max() <= info.bounds[1] + rounding:
        seen = f"{known.min():g} to {known.max():g}"
        raise IikataError(
            f"{panel.metric}: scores from {seen} lie outside its bounds {info.bounds}. "
            "Score these answers again, or give a metric of another kind another name."
        )
    if np.ptp(known) == 0 and len(known) > 1:
        told.append(f"{panel.metric}: every score is {known[0]:g}")
    if len(panel.signatures) > 1:
        told.append(f"{panel.metric}: scored in more than one way: {', '.join(panel.signatures)}")
    samples = np.unique(lines[lines > 0])
    if len(samples) > 1:
        told.append(f"{panel.metric}: {samples[0]} to {samples[-1]} samples an answer; each mean counts once")
    return told


def left_out(found: Mapping[str, Panel], table: ScoreTable, rows_lost: Mapping[str, int]) -> dict[str, Any]:
    """Return what no comparison uses; what single comparisons leave out stands in their detail."""
    gaps = {name: _missing_cells(panel) for name, panel in found.items()}
    return {
        "scores_without_number": {name: int(panel.unscored.sum()) for name, panel in found.items()},
        "rows_not_scored_everywhere": {name: count for name, count in rows_lost.items() if count},
        "cells_without_scores": {name: cells for name, cells in gaps.items() if cells},
    }


def _missing_cells(panel: Panel) -> list[str]:
    """Return the cells that the other seeds and templates lead one to expect and that have no line."""
    tuned = [cell for cell in panel.cells if cell[0] is not None]
    seeds = dict.fromkeys(seed for _, seed, _ in tuned)
    trained = dict.fromkeys(t for t, _, _ in tuned)
    sides = dict.fromkeys([(t, t) for t in trained] + [(t, p) for t, _, p in tuned])
    missing = [f"{t}.s{s}@{p}" for t, p in sides for s in seeds if (t, s, p) not in panel.cells]
    return missing + [f"base@{t}" for t in trained if (None, None, t) not in panel.cells]


def cell_means(panel: Panel) -> list[dict[str, Any]]:
    """Return one row for each trained-on and prompted-with: mean over probes and seeds, and counts of samples."""
    told = []
    for t, p in panel.sides():
        rows = list(panel.rows(t, p).values())
        known = panel.mean[rows][np.isfinite(panel.mean[rows])]
        mean = float(known.mean()) if len(known) else None
        counts = {"scored": int(panel.scored[rows].sum()), "unscored": int(panel.unscored[rows].sum())}
        told.append(
            {"metric": panel.metric, "trained_on": t, "prompted_with": p, "n_seeds": len(rows), "mean": mean, **counts}
        )
    return told
