"""The trained-on x prompted-with matrix of one metric: means of scores and how deep each cell is coloured."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from iikata.core.records import Score
from iikata.report.figures import is_rate

Key = tuple[str | None, str]
"""(trained on, prompted with); None: the untuned base."""


@dataclass(frozen=True)
class Entry:
    """One cell of a matrix, all seeds, probes and samples together."""

    mean: float | None
    scored: int
    missing: int
    """Scores that are NaN: they are in no mean."""
    shade: float
    """0: the palest, 1: the deepest colour; deeper is better, or larger where the metric has no better."""
    own: bool = False
    """Whether it was prompted with a template that it was trained on."""


@dataclass(frozen=True)
class Matrix:
    """One metric's matrix; a cell that was never answered is absent from `entries`."""

    metric: str
    rows: Sequence[str | None]
    columns: Sequence[str]
    entries: dict[Key, Entry]


def matrix(name: str, scores: Iterable[Score], metric: Any, margin: float | None = None) -> Matrix:
    """Return the means of `scores` by cell; `margin` keeps small differences from looking large."""
    values: dict[Key, list[float]] = {}
    own: set[Key] = set()
    for score in scores:
        key = (score.trained_on, score.prompted_with)
        if key not in values:
            values[key] = []
            if score.prompted_with in (score.template or score.trained_on or "").split("|"):
                own.add(key)
        values[key].append(score.value)
    scored = {key: [value for value in cell if not math.isnan(value)] for key, cell in values.items()}
    means = {key: math.fsum(cell) / len(cell) for key, cell in scored.items() if cell}
    low, high = _range(list(means.values()), metric, margin)

    def shade(mean: float | None) -> float:
        if mean is None or not math.isfinite(mean):
            return 0.0
        depth = min(1.0, max(0.0, (mean - low) / (high - low)))
        return round(1 - depth if metric.better == "lower" else depth, 3)

    rows, columns = keys(values)
    entries = {
        key: Entry(means.get(key), len(scored[key]), len(cell) - len(scored[key]), shade(means.get(key)), key in own)
        for key, cell in values.items()
    }
    return Matrix(name, rows, columns, entries)


def keys(cells: Iterable[Key]) -> tuple[list[str | None], list[str]]:
    """Return the rows (base first) and columns that `cells` span, in the order met."""
    cells = list(cells)
    trained = dict.fromkeys(row for row, _ in cells if row is not None)
    columns = dict.fromkeys([column for row, column in cells if row == column])
    columns |= dict.fromkeys(column for _, column in cells)
    return [None] * any(row is None for row, _ in cells) + [*trained], [*columns]


def _range(means: list[float], metric: Any, margin: float | None) -> tuple[float, float]:
    """Return the values of the palest and the deepest colour."""
    if is_rate(metric):
        return 0.0, 1.0
    low, high = min(means, default=0.0), max(means, default=0.0)
    # Stretched over the data alone, two equal templates would look worlds apart.
    least = max(4 * (margin or 0.0), 0.1 * abs(low), 1e-9)
    spare = max(0.0, least - (high - low)) / 2
    return low - spare, high + spare
