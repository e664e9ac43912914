"""A linear axis: round ticks and where on it a number lies."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, whole multiples of `step`."""

    low: float
    high: float
    step: float

    def at(self, x: float) -> float:
        """Return where `x` lies, in percent of the length; what lies outside is at the end."""
        return round(100 * min(1.0, max(0.0, (x - self.low) / (self.high - self.low))), 2)

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """(percent of the length, value)."""
        count = round((self.high - self.low) / self.step)
        values = [round(self.low + self.step * i, 12) + 0.0 for i in range(count + 1)]
        return [(self.at(x), x) for x in values]


def axis(values: Iterable[float], least: float) -> Axis:
    """Return an axis on which all values have some room; `least` is its length where they have none."""
    low, high = min(found := list(values)), max(found)
    step = _step(high - low or least)
    return Axis(step * math.floor(low / step - 0.15), step * math.ceil(high / step + 0.15), step)


def path(points: Iterable[tuple[float, float] | None]) -> str:
    """Return SVG path data through the points, broken where there is none."""
    drawn, pen = "", "M"
    for point in points:
        drawn, pen = (f"{drawn}{pen}{point[0]} {point[1]}", "L") if point else (drawn, "M")
    return drawn


def _step(span: float) -> float:
    """Return a round distance between ticks that cuts `span` into two to five."""
    power = 10.0 ** math.floor(math.log10(span / 2))
    return power * max(factor for factor in (1, 2, 5) if factor * power <= span / 2)
