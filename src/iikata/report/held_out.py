"""Lay what arms came to on held-out rows while they were trained out as curves, the lowest step of each marked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iikata.core.evaluation import Evaluation, lowest
from iikata.report.axis import axis, path
from iikata.report.curves import HEIGHT, WIDTH, CurvePanel


@dataclass(frozen=True)
class Line:
    """One arm under one of its templates."""

    name: str
    """The arm's; of a mixture the cell's."""
    first: Evaluation
    lowest: Evaluation | None
    last: Evaluation


@dataclass(frozen=True)
class HeldOutPanel(CurvePanel):
    """The lowest of each curve is marked."""

    lines: Sequence[Line] = ()


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

    def panel(name: str, own: Mapping[str, Sequence[Evaluation]]) -> HeldOutPanel:
        lines = [Line(one, curve[0], lowest(curve), curve[-1]) for one, curve in own.items()]
        marks = [mark for one in lines if (mark := place(one.lowest))]
        return HeldOutPanel(name, [path(map(place, curve)) for curve in own.values()], ticks, steps, (), marks, lines)

    ticks = [(round(HEIGHT * (1 - y / 100), 1), value) for y, value in upright.ticks]
    return [panel(name, own) for name, own in curves.items()]
