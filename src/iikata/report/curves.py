"""Turn loss curves into SVG paths: one panel a variant, one path an arm, all panels on one scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iikata.core.records import TrainStep
from iikata.report.axis import path

WIDTH, HEIGHT = 292, 154
"""The drawing area of a panel; the templates add room for the labels."""
POINTS = 600
"""Points drawn of one curve; of a longer one every n-th step."""


@dataclass(frozen=True)
class CurvePanel:
    """The curves of one variant's arms."""

    name: str
    paths: Sequence[str]
    """SVG path data, broken where a value is not finite."""
    ticks: Sequence[tuple[float, float]]
    """(y, value), the same for all panels."""
    last: int
    """The step at the right edge; the left edge is 0."""
    lost: Sequence[float] = ()
    """Where, left to right, a loss was not finite."""
    marks: Sequence[tuple[float, float]] = ()
    """Points of the curves that are marked."""


def panels(steps: Mapping[str, Sequence[TrainStep]]) -> list[CurvePanel]:
    """Return one panel a variant; arms are named `variant.sN`."""
    arms: dict[str, list[Sequence[TrainStep]]] = {}
    for arm, curve in steps.items():
        if curve:
            arms.setdefault(arm.rpartition(".s")[0] or arm, []).append(_thinned(curve))
    drawn = [step for curves in arms.values() for curve in curves for step in curve]
    highest = max((step.loss for step in drawn if math.isfinite(step.loss)), default=1.0)
    top = math.ceil(highest * 2) / 2 if highest > 1 else math.ceil(highest * 10) / 10 or 1.0
    last = max((step.step for step in drawn), default=1)
    return [_panel(name, curves, top, last) for name, curves in arms.items()]


def _thinned(curve: Sequence[TrainStep]) -> list[TrainStep]:
    every = -(-len(curve) // POINTS)
    # The last step and every loss that is not a number stay, whatever the stride.
    return [s for i, s in enumerate(curve) if i % every == 0 or s is curve[-1] or not math.isfinite(s.loss)]


def _panel(name: str, curves: Sequence[Sequence[TrainStep]], top: float, last: int) -> CurvePanel:
    def place(step: TrainStep) -> tuple[float, float] | None:
        height = HEIGHT * (1 - step.loss / top)
        return (round(WIDTH * step.step / last, 1), round(height, 1)) if math.isfinite(height) else None

    lost = [round(WIDTH * step.step / last, 1) for curve in curves for step in curve if not math.isfinite(step.loss)]
    ticks = [(HEIGHT * (1 - share), top * share) for share in (1, 0.5, 0)]
    return CurvePanel(name, [path(map(place, curve)) for curve in curves], ticks, last, lost)
