"""What all ratings say together: win rates, strengths, agreement."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from iikata.core.records import Cell, Probe
from iikata.rating.ratings import Rating, clusters_of
from iikata.rating.scores import WON
from iikata.rating.strengths import bradley_terry, intervals

Who = tuple[str | None, str]
"""trained_on and prompted_with of a cell, all seeds together."""


@dataclass(frozen=True)
class WinRate:
    """How one cell did against another, over all seeds."""

    first: Who
    second: Who
    wins: int
    """Of the first."""
    ties: int
    losses: int
    rate: float
    """The first one's, a tie half a win: the mean over clusters, each of which counts once."""
    by_cluster: dict[str, float]


@dataclass(frozen=True)
class Strength:
    """A cell's Bradley-Terry strength, over all seeds."""

    trained_on: str | None
    prompted_with: str
    strength: float
    """In log-odds; the cells' mean is 0."""
    interval: tuple[float, float] | None
    """At 95%; None with fewer than ten clusters."""


@dataclass(frozen=True)
class Summary:
    """All ratings together."""

    ratings: int
    """Choices made, skips not counted."""
    raters: dict[str, int]
    """Rater -> choices, skips not counted."""
    skipped: int
    same: int
    """Ties of equal texts that nobody was asked for; in win rates and strengths, not in agreement."""
    win_rates: tuple[WinRate, ...]
    strengths: tuple[Strength, ...]
    """The strongest first."""
    shared: int
    """Pairs that two raters or more chose in."""
    agreement: float | None
    """Krippendorff's alpha over them; None where there are none."""


def summary(ratings: Iterable[Rating], probes: Sequence[Probe]) -> Summary:
    """Sum up ratings; those of probes that are no longer there are left out."""
    clusters = clusters_of(probes)
    known = [rating for rating in ratings if rating.probe in clusters]
    chosen = [rating for rating in known if rating.choice in WON]
    asked = [rating for rating in chosen if rating.asked]
    raters = {rating.rater: 0 for rating in known if rating.asked}
    units: dict[str, list[str]] = {}
    for rating in asked:
        raters[rating.rater] += 1
        units.setdefault(rating.pair, []).append(rating.choice)
    return Summary(
        ratings=len(asked),
        raters=raters,
        skipped=sum(rating.choice == "skip" for rating in known),
        same=len(chosen) - len(asked),
        win_rates=_win_rates(chosen, clusters),
        strengths=_strengths(chosen, clusters),
        shared=sum(len(said) > 1 for said in units.values()),
        agreement=krippendorff_alpha(units.values()),
    )


def _who(cell: Cell) -> Who:
    return cell.arm.variant, cell.prompted_with


def _win_rates(chosen: Sequence[Rating], clusters: dict[str, str]) -> tuple[WinRate, ...]:
    games: dict[tuple[Who, Who], dict[str, list[float]]] = {}
    for rating in chosen:
        of_pair = games.setdefault((_who(rating.first), _who(rating.second)), {})
        of_pair.setdefault(clusters[rating.probe], []).append(WON[rating.choice])
    found = []
    for couple, of_pair in sorted(games.items(), key=lambda item: str(item[0])):
        by_cluster = {cluster: sum(won) / len(won) for cluster, won in sorted(of_pair.items())}
        wins, ties, losses = (sum(won.count(worth) for won in of_pair.values()) for worth in (1.0, 0.5, 0.0))
        found.append(WinRate(*couple, wins, ties, losses, sum(by_cluster.values()) / len(by_cluster), by_cluster))
    return tuple(found)


def _strengths(chosen: Sequence[Rating], clusters: dict[str, str]) -> tuple[Strength, ...]:
    if not chosen:
        return ()
    players = sorted({_who(cell) for rating in chosen for cell in (rating.first, rating.second)}, key=str)
    place = {who: i for i, who in enumerate(players)}
    known = {cluster: i for i, cluster in enumerate(sorted({clusters[rating.probe] for rating in chosen}))}
    wins = np.zeros((len(known), len(players), len(players)))
    for rating in chosen:
        cluster, i, j = known[clusters[rating.probe]], place[_who(rating.first)], place[_who(rating.second)]
        wins[cluster, i, j] += WON[rating.choice]
        wins[cluster, j, i] += 1 - WON[rating.choice]
    found, around = bradley_terry(wins.sum(axis=0)), intervals(wins)
    spans = [None] * len(players) if around is None else [(float(low), float(high)) for low, high in around]
    made = [Strength(*who, float(s), span) for who, s, span in zip(players, found, spans, strict=True)]
    return tuple(sorted(made, key=lambda one: -one.strength))


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Return Krippendorff's alpha for nominal values: 1 is full agreement, 0 what chance would give.

    A unit is what its raters said of it; one with fewer than two values tells nothing. None where no unit does; 1
    where all agree, though they know only one value. Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    shared = [unit for unit in units if len(unit) > 1]
    totals = Counter(value for unit in shared for value in unit)
    n = totals.total()
    if not n:
        return None
    apart = sum(_unlike(Counter(unit)) / (len(unit) - 1) for unit in shared)
    return 1 - (n - 1) * apart / _unlike(totals) if apart else 1.0


def _unlike(counts: Counter[Hashable]) -> int:
    """Return how many ordered pairs of values differ."""
    return counts.total() ** 2 - sum(count**2 for count in counts.values())
