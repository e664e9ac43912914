"""Ratings to scores: an answer's share of wins."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from iikata.core.records import Cell, Probe, Score
from iikata.metrics import METRICS
from iikata.rating.ratings import Rating, clusters_of

WON = {"first": 1.0, "tie": 0.5, "second": 0.0}
"""What a choice is worth to the first side. A skip says nothing."""


@dataclass(frozen=True)
class Met:
    """Two answers that were held against each other."""

    first: Cell
    second: Cell
    probe: str
    sample: int
    won: float
    """The first one's mean over its raters."""


def scores(ratings: Iterable[Rating], probes: Sequence[Probe]) -> Iterator[Score]:
    """Yield the scores of the metrics `rated` and `rated_base`, of rated answers alone.

    1 is a win, 0.5 a tie, 0 a loss; the mean is over a pair's raters first, then over opponents. There are two metrics
    since a share of wins depends on the opponents, and a difference of two shares compares the answers only where
    these are the same. `rated` is against the other variants' arms of the same seed, and counts once an answer has met
    all of them; `rated_base` is against the base prompted alike, whose own score is 0.5, a tie with itself, and tells
    nothing across templates. One metric over all opponents would call a variant better whose base is worse.
    """
    clusters = clusters_of(probes)
    met = [one for one in _met(ratings) if one.probe in clusters]
    places = {probe: place for place, probe in enumerate(clusters)}
    for name, found in (("rated", _against_variants(met)), ("rated_base", _against_base(met))):
        order = sorted(found, key=lambda key: (key[0].name, places[key[1]], key[2]))
        for cell, probe, sample in order:
            who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
            value = found[cell, probe, sample]
            yield Score(*who, probe, clusters[probe], sample, name, value, METRICS[name].signature)


Found = Mapping[tuple[Cell, str, int], float]
"""Cell, probe, sample -> value."""


def _met(ratings: Iterable[Rating]) -> list[Met]:
    pairs: dict[str, tuple[Rating, list[float]]] = {}
    for rating in ratings:
        if rating.choice in WON:
            pairs.setdefault(rating.pair, (rating, []))[1].append(WON[rating.choice])
    return [Met(r.first, r.second, r.probe, r.sample, sum(won) / len(won)) for r, won in pairs.values()]


def _against_variants(met: Iterable[Met]) -> Found:
    groups: dict[tuple[int | None, str, int], dict[tuple[Cell, Cell], float]] = {}
    asked: dict[int | None, set[tuple[Cell, Cell]]] = {}
    for one in met:
        if one.first.arm.variant is not None and one.second.arm.variant is not None:
            couple, seed = (one.first, one.second), one.first.arm.seed
            groups.setdefault((seed, one.probe, one.sample), {})[couple] = one.won
            asked.setdefault(seed, set()).add(couple)
    won: dict[tuple[Cell, str, int], list[float]] = {}
    for (seed, probe, sample), couples in groups.items():
        # Two answers that met different opponents cannot be compared by their shares of wins.
        if couples.keys() == asked[seed]:
            for (first, second), value in couples.items():
                won.setdefault((first, probe, sample), []).append(value)
                won.setdefault((second, probe, sample), []).append(1 - value)
    return {key: sum(values) / len(values) for key, values in won.items()}


def _against_base(met: Iterable[Met]) -> Found:
    found: dict[tuple[Cell, str, int], float] = {}
    for one in met:
        for mine, other, value in ((one.first, one.second, one.won), (one.second, one.first, 1 - one.won)):
            if other.arm.variant is None:
                found[mine, one.probe, one.sample] = value
                found[other, one.probe, one.sample] = 0.5
    return found
