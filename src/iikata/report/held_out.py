"""Lay what arms came to on held-out rows while they were trained out as curves, the lowest step of each marked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iikata.core.evaluation import Evaluation, lowest
from iikata.report.axis import axis, path

WIDTH, HEIGHT = 292, 154
"""The drawing area of a panel; the template adds room for the labels."""


@dataclass(frozen=True)
class Line:
    """One arm under one of its templates."""

    name: str
    """The arm's; of a mixture the cell's."""
    first: Evaluation
    lowest: Evaluation | None
    last: Evaluation
    path: str
    """SVG path data, broken where a value is not finite."""
    mark: tuple[float, float] | None
    """Where the lowest lies."""


@dataclass(frozen=True)
class HeldOutPanel:
    """The lines of one variant's arms."""

    variant: str
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, float]]
    """(y, value), the same for all panels."""
    steps: int
    """The step at the right edge; the left edge is 0."""


def held_out_panels(evaluations: Mapping[str, Sequence[Evaluation]]) -> list[HeldOutPanel]:
    """Return one panel a variant; arms are named `variant.sN`, and those without a finite value are left out."""
    curves: dict[str, dict[str, list[Evaluation]]] = {}
    for arm, found in evaluations.items():
        several = len({one.prompted_with for one in found}) > 1
        for one in found:
            own = curves.setdefault(arm.rpartition(".s")[0] or arm, {})
            own.setdefault(one.cell if several else arm, []).append(one)
    every = [one for own in curves.values() for curve in own.values() for one in curve]
    values = [one.value for one in every if math.isfinite(one.value)]
    if not values:
        return []
    upright, steps = axis(values, abs(values[0]) or 1.0), max(1, *(one.step for one in every))

    def place(one: Evaluation | None) -> tuple[float, float] | None:
        if one is None or not math.isfinite(one.value):
            return None
        return round(WIDTH * one.step / steps, 1), round(HEIGHT * (1 - upright.at(one.value) / 100), 1)

    def line(name: str, curve: Sequence[Evaluation]) -> Line:
        best = lowest(curve)
        return Line(name, curve[0], best, curve[-1], path(map(place, curve)), place(best))

    ticks = [(round(HEIGHT * (1 - y / 100), 1), value) for y, value in upright.ticks]
    return [
        HeldOutPanel(name, [line(one, curve) for one, curve in own.items()], ticks, steps)
        for name, own in curves.items()
    ]
