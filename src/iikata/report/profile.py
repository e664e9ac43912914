"""Lay the primary metric along a numeric factor out as curves, and what each level's settings were chosen by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iikata.report.axis import axis
from iikata.report.effects import target
from iikata.report.variants import Variants, setting, settings_text

WIDTH, HEIGHT, EDGE = 292, 190, 22
"""The drawing area, and what is left free of it beside the first and the last level."""
APART = 5
"""Between the points of one level, so that their intervals can be told apart."""


@dataclass(frozen=True)
class Point:
    """One variant's mean."""

    record: Mapping[str, Any]
    x: float
    y: float
    interval: tuple[float, float] | None
    """Upper and lower end."""
    target: str


@dataclass(frozen=True)
class Curve:
    """The points that differ in the factor alone."""

    name: str
    colour: int
    points: Sequence[Point]

    @property
    def path(self) -> str:
        return "M" + "L".join(f"{point.x} {point.y}" for point in self.points)

    def at(self, level: str) -> Point | None:
        """Return the point of a level."""
        return next((point for point in self.points if point.record["level"] == level), None)


@dataclass(frozen=True)
class Profile:
    """One factor's curves on one scale."""

    record: Mapping[str, Any]
    factor: str
    curves: Sequence[Curve]
    levels: Sequence[tuple[float, str]]
    """(x, level), left to right."""
    ticks: Sequence[tuple[float, float]]
    """(y, value)."""


def profile(record: Mapping[str, Any], variants: Variants) -> Profile:
    """Return the curves of one of the comparisons' profiles; positive levels lie on a logarithmic scale."""
    every = [point for curve in record["curves"] for point in curve["points"]]
    levels = {point["level"]: point["value"] for point in sorted(every, key=lambda point: point["value"])}
    scale = math.log if min(levels.values()) > 0 else float
    low, high = (scale(end(levels.values())) for end in (min, max))
    places = {
        level: round(EDGE + (WIDTH - 2 * EDGE) * ((scale(value) - low) / (high - low) if high > low else 0.5), 1)
        for level, value in levels.items()
    }
    ends = [x for point in every for x in (point["mean"], *(point["interval"] or ()))]
    upright = axis(ends, abs(ends[0]) or 1.0)

    def height(x: float) -> float:
        return round(HEIGHT * (1 - upright.at(x) / 100), 1)

    own = [variants.colour((curve["points"][0]["variant"], "")) or 0 for curve in record["curves"]]
    colours = own if len(set(own)) == len(own) else range(len(own))  # a level's, where these tell curves apart
    curves = []
    for i, (curve, colour) in enumerate(zip(record["curves"], colours, strict=True)):
        beside, points = APART * (i - (len(record["curves"]) - 1) / 2), []
        for point in curve["points"]:
            drawn = (height(point["interval"][1]), height(point["interval"][0])) if point["interval"] else None
            link = target(record["metric"], [(point["variant"], point["prompted_with"])])
            points.append(Point(point, places[point["level"]] + beside, height(point["mean"]), drawn, link))
        name = settings_text(curve["levels"]) or curve["points"][0]["variant"]
        curves.append(Curve(name, colour, points))
    across = [(x, level) for level, x in places.items()]
    ticks = [(height(value), value) for _, value in upright.ticks]
    return Profile(record, setting(record["factor"]), curves, across, ticks)


@dataclass(frozen=True)
class Choosing:
    """What each level's other settings were chosen by: means on what is never tested."""

    levels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[float | None, bool]]]]
    """(the other settings, (mean or None, whether chosen) of each level)."""
    edges: Sequence[str]
    """Chosen variants at the edge of a numeric grid."""


def choosing(compared: Sequence[Mapping[str, Any]], metric: str, variants: Variants) -> Choosing | None:
    """Return the choosing table of `others: best`; None where nothing was chosen."""
    details = (c["detail"] for c in compared if c["metric"] == metric and c["detail"].get("choosing"))
    detail = next(details, None)
    if detail is None:
        return None
    levels, found = list(detail["choosing"]), dict[str, dict[str, tuple[float | None, bool]]]()
    order = {name: i for i, name in enumerate(variants.known)}
    means = [(name, level, mean) for level, of in detail["choosing"].items() for name, mean in of.items()]
    for name, level, mean in sorted(means, key=lambda one: order.get(one[0], len(order))):
        label = variants.rest(name) if name in variants.known else name
        found.setdefault(label, {})[level] = (mean, name == detail["chosen"][level])
    rows = [(label, [of.get(level, (None, False)) for level in levels]) for label, of in found.items()]
    return Choosing(levels, rows, detail.get("best_at_the_edge_of_the_grid", ()))
