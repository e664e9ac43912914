"""Lay comparisons out as forest plots: rows of one question and metric on one shared scale."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from iikata.report.axis import Axis, axis
from iikata.report.matrix import Key
from iikata.report.variants import Variants, settings_text

QUESTIONS = ("matched", "mixture", "mismatch", "tuned_vs_base", "tuned_vs_best_base")
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

    name: str
    """What is compared: `alpaca − native`."""
    target: str
    """The fragment that shows the answers of both sides."""
    head: str = ""
    """The settings or the level that it belongs to, where the effects are many."""

    @property
    def treatment(self) -> Key:
        return cell(self.record["treatment"])

    @property
    def control(self) -> Key:
        return cell(self.record["control"])


@dataclass(frozen=True)
class EffectGroup:
    """All effects of one question on one metric."""

    question: str
    metric: str
    effects: Sequence[Effect]
    ticks: Sequence[tuple[float, float]]
    """(percent of the width, value)."""
    margin: tuple[float, float] | None
    """Where the margin band begins and ends, in percent."""
    asked: str
    """The question's name among the words."""


def groups(
    comparisons: Sequence[Mapping[str, Any]],
    metric: str,
    margin: float | None,
    variants: Variants | None = None,
    beside: tuple[Sequence[Mapping[str, Any]], float | None] | None = None,
) -> list[EffectGroup]:
    """Return the forest plots of `metric`, one a question that was asked.

    `beside` are the comparisons and the margin of another run, which is shown on the same axes.
    """
    variants = variants or Variants()
    made = []
    for question in QUESTIONS:
        asked, others = (
            [c for c in of if (c["question"], c["metric"]) == (question, metric)]
            for of in (comparisons, beside[0] if beside else ())
        )
        if asked:
            scale = _axis([(asked, margin), (others, beside[1] if beside else None)])
            made.append(_group(question, metric, asked, margin, variants, scale))
    return made


def cell(side: Mapping[str, Any]) -> Key:
    """Return the cell that one side of a comparison names."""
    return side.get("trained_on"), side["prompted_with"]


def between(
    comparisons: Sequence[Mapping[str, Any]], metric: str, question: str, trained_on: Sequence[str | None] | None
) -> Mapping[str, Any] | None:
    """Return the comparison that a verdict rests on: of arms of these two variants, None for the base."""
    for c in comparisons:
        sides = [c["treatment"]["trained_on"], c["control"]["trained_on"]]
        if c["question"] == question and c["metric"] == metric and sides == list(trained_on or ()):
            return c
    return None


def target(metric: str, cells: Iterable[Key]) -> str:
    """Return the fragment that shows the answers of `cells` with the scores of `metric`."""
    names = [f"{row or 'base'}@{column}" for row, column in cells]
    return quote(";".join([f"show={metric}", *dict.fromkeys(names)]), safe="=;@.")


def linked(variants: Variants, metric: str, sides: Iterable[Key]) -> str:
    """Return the fragment that shows the answers of these sides of a comparison."""
    return target(metric, [one for side in sides for one in variants.cells(side)])


def _headed(asked: Sequence[Mapping[str, Any]], variants: Variants) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the comparisons with what they belong to, those of one head together; no heads where they are few."""
    heads = [_head(one, variants) for one in asked] if len(asked) > 4 and variants.grouped else []
    if not 1 < len(set(heads)) < len(asked):
        return [("", one) for one in asked]
    order = list(dict.fromkeys(heads))
    return sorted(zip(heads, asked, strict=True), key=lambda pair: order.index(pair[0]))


def _head(record: Mapping[str, Any], variants: Variants) -> str:
    """Return the settings that both sides share, or the level of the factor that the treatment stands for."""
    if record["detail"].get("others"):
        return settings_text(record["detail"]["others"])
    return variants.level(str(record["treatment"]["trained_on"]))


def _axis(runs: Iterable[tuple[Sequence[Mapping[str, Any]], float | None]]) -> Axis:
    """Return the axis on which the comparisons of each run lie, with its margin."""
    every, least = [0.0], 1.0
    for asked, margin in runs:
        ends = [x for c in asked for x in [*(c["interval"] or ()), c["difference"]] if x is not None]
        ends += [sign * noise for c in asked if (noise := c["detail"].get("noise_floor")) for sign in (-1, 1)]
        # A margin far wider than the effects would squeeze them into a line: the band then runs off both sides.
        reach = max((abs(x) for x in ends), default=0.0) or margin or 1.0
        if margin and margin < 3 * reach:
            ends += [-1.2 * margin, 1.2 * margin]
        every, least = [*every, *ends], 2 * reach if asked else least
    return axis(every, least)


def _group(
    question: str,
    metric: str,
    asked: Sequence[Mapping[str, Any]],
    margin: float | None,
    variants: Variants,
    scale: Axis,
) -> EffectGroup:
    def between(ends: Sequence[float] | None) -> tuple[float, float] | None:
        return (scale.at(ends[0]), scale.at(ends[1])) if ends else None

    rows = []
    for head, record in _headed(asked, variants):
        point, noise = record["difference"], record["detail"].get("noise_floor")
        place = None if point is None else scale.at(point)
        drawn = between((-noise, noise)) if noise and scale.at(noise) - scale.at(0) > 1.5 else None
        sides = [cell(record[side]) for side in ("treatment", "control")]
        name = " − ".join(map(variants.side, sides))
        link = linked(variants, metric, sides)
        drawn_at = (place, between(record["interval"]), between(record["interval_90"]), drawn)
        rows.append(Effect(record, *drawn_at, name, link, head))
    of_factor = question == "matched" and variants.factor != "template"
    band = between((-margin, margin) if margin else None)
    return EffectGroup(question, metric, rows, scale.ticks, band, f"{question}.factor" if of_factor else question)


def scope(record: Mapping[str, Any]) -> str:
    """Return what a comparison's interval speaks about; "both_few" where it supports no claim."""
    return "both_few" if record["detail"].get("both_few") else str(record["scope"])
