"""Lay comparisons out as forest plots: rows of one question and metric on one shared scale."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from iikata.report.matrix import Key

QUESTIONS = ("matched", "mismatch", "tuned_vs_base", "tuned_vs_best_base")
"""In the order of the report; `noise_floor` is drawn inside these."""


@dataclass(frozen=True)
class Effect:
    """One comparison and its place on its group's scale, in percent of the width."""

    record: Mapping[str, Any]
    """The comparison as comparisons.json has it."""
    at: float | None
    interval: tuple[float, float] | None
    inner: tuple[float, float] | None
    """The shorter interval, which is inside the margin where the verdict is EQUIVALENT or SMALL."""
    noise: tuple[float, float] | None
    """Plus and minus what a change of seed alone moves; None where that is unknown or too little to draw."""

    @property
    def treatment(self) -> Key:
        return cell(self.record["treatment"])

    @property
    def control(self) -> Key:
        return cell(self.record["control"])

    @property
    def name(self) -> str:
        return f"{side(self.treatment)} − {side(self.control)}"

    @property
    def target(self) -> str:
        return target(self.record["metric"], [self.treatment, self.control])


@dataclass(frozen=True)
class Group:
    """All effects of one question on one metric."""

    question: str
    metric: str
    effects: Sequence[Effect]
    ticks: Sequence[tuple[float, float]]
    """(percent of the width, value)."""
    margin: tuple[float, float] | None
    """Where the margin band begins and ends, in percent."""


def groups(comparisons: Sequence[Mapping[str, Any]], metric: str, margin: float | None) -> list[Group]:
    """Return the forest plots of `metric`, one a question that was asked."""
    asked = {
        question: [c for c in comparisons if (c["question"], c["metric"]) == (question, metric)]
        for question in QUESTIONS
    }
    return [_group(question, metric, found, margin) for question, found in asked.items() if found]


def cell(side: Mapping[str, Any]) -> Key:
    """Return the cell that one side of a comparison names."""
    return side.get("trained_on"), side["prompted_with"]


def side(cell: Key) -> str:
    """Return what a cell is called: `alpaca` where it is prompted as it was trained, else `alpaca@native`."""
    return cell[1] if cell[0] == cell[1] else f"{cell[0] or 'base'}@{cell[1]}"


def target(metric: str, cells: Iterable[Key]) -> str:
    """Return the fragment that shows the answers of `cells` with the scores of `metric`."""
    names = [f"{row or 'base'}@{column}" for row, column in cells]
    return quote(";".join([f"show={metric}", *dict.fromkeys(names)]), safe="=;@.")


def _group(question: str, metric: str, asked: Sequence[Mapping[str, Any]], margin: float | None) -> Group:
    noises = [c["detail"].get("noise_floor") for c in asked]
    ends = [x for c in asked for x in [*(c["interval"] or ()), c["difference"]] if x is not None and math.isfinite(x)]
    ends += [sign * noise for noise in noises if noise for sign in (-1, 1)]
    # A margin far wider than the effects would squeeze them into a line: the band then runs off both sides.
    reach = max((abs(x) for x in ends), default=0.0) or margin or 1.0
    if margin and margin < 3 * reach:
        ends += [-1.2 * margin, 1.2 * margin]
    step = _step(max([0.0, *ends]) - min([0.0, *ends]) or 2 * reach)
    low = step * math.floor(min([0.0, *ends]) / step - 0.15)
    high = step * math.ceil(max([0.0, *ends]) / step + 0.15)

    def at(x: float) -> float:
        return round(100 * min(1.0, max(0.0, (x - low) / (high - low))), 2)

    def between(ends: Sequence[float] | None) -> tuple[float, float] | None:
        return (at(ends[0]), at(ends[1])) if ends else None

    rows = []
    for record, noise in zip(asked, noises, strict=True):
        point = record["difference"]
        place = None if point is None or not math.isfinite(point) else at(point)
        drawn = between((-noise, noise)) if noise and at(noise) - at(0) > 1.5 else None
        rows.append(Effect(record, place, between(record["interval"]), between(record["interval_90"]), drawn))
    values = [round(low + step * i, 12) + 0.0 for i in range(round((high - low) / step) + 1)]
    return Group(question, metric, rows, [(at(x), x) for x in values], between((-margin, margin) if margin else None))


def _step(span: float) -> float:
    """Return a round distance between ticks that cuts `span` into two to five."""
    power = 10.0 ** math.floor(math.log10(span / 2))
    return power * max(factor for factor in (1, 2, 5) if factor * power <= span / 2)


def scope(record: Mapping[str, Any]) -> str:
    """Return what a comparison's interval speaks about; "both_few" where it supports no claim."""
    return "both_few" if record["detail"].get("both_few") else str(record["scope"])
