"""Answers of a run that exists only here, and raters who choose by a rule."""

from collections.abc import Callable

from iikata.core.records import Answer, Probe
from iikata.rating import RatedPair, Rating, pairs

MARKERS = {"alpaca": ("### Instruction:", "### Response:"), "plain": ("Answer below.",)}


def asked(clusters: int, each: int = 1) -> list[Probe]:
    return [Probe(f"c{c}-{i}", "?", cluster=f"c{c}") for c in range(clusters) for i in range(each)]


def answered(
    probes: list[Probe],
    templates: tuple[str, ...] = ("alpaca", "plain"),
    seeds: tuple[int, ...] = (0, 1, 2),
    samples: int = 1,
    text: Callable[[str | None, int | None, str, str, int], str] = "{}.{}@{} {} {}".format,
) -> list[Answer]:
    """Return an answer of every cell, crossed ones and the base's too."""
    arms = [(t, s) for t in templates for s in seeds] + [(None, None)]
    places = [(*arm, p, probe.id, i) for arm in arms for p in templates for probe in probes for i in range(samples)]
    return [Answer(*place, text(*place), "stop", 5, f"sig {place[:3]}") for place in places]


def choose(
    answers: list[Answer], probes: list[Probe], rater: str, rule: Callable[[RatedPair], str], most: int | None = None
):
    """Return the ratings of a rater who goes by `rule`, a choice in terms of first and second."""
    return [Rating.of(pair, rater, rule(pair)) for pair in pairs(answers, probes, MARKERS, rater, 0)[:most]]


def prefers(*templates: str | None) -> Callable[[RatedPair], str]:
    """Return the rule of one who likes the earlier of the templates trained on better; None is the base."""

    def rule(pair: RatedPair) -> str:
        first, second = (templates.index(side.cell.arm.variant) for side in (pair.first, pair.second))
        return "first" if first < second else "second"

    return rule
