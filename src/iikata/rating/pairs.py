"""Which two answers a rater sees next, and which of them on the left."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from iikata.core.records import Answer, Arm, Cell, Probe
from iikata.core.rng import stream_seed
from iikata.metrics import Context
from iikata.metrics.leakage import without_leaks
from iikata.rating.ratings import RatedPair, RatedSide, Rating, clusters_of, signature_of

T = TypeVar("T")
TemplateLiterals = Mapping[str, Sequence[str]]
"""Template -> the literal lines that it writes around a row."""
Own = Mapping[str, Sequence[str]]
"""Variant -> the templates that it was trained on; one that is missing is called as its template."""


def pairs(
    answers: Iterable[Answer],
    probes: Sequence[Probe],
    template_literals: TemplateLiterals,
    rater: str,
    seed: int,
    own: Own | None = None,
) -> list[RatedPair]:
    """Return what `rater` is shown, in order; it follows from (seed, rater) and the answers alone.

    Paired are the cells that the verdict's questions hold against each other: two variants, each prompted as it was
    trained, under one training seed; and each such cell against the base prompted alike. A mixture is shown under the
    first of its templates that it answered, as it is compared. Both sides are the same sample of the same probe. The
    pairs of one training seed, probe and sample come together, in the rater's own order, so that every answer meets
    all its opponents (`scores` asks for that) and a question is read once for many pairs. Seeds and clusters take
    turns, so that whoever stops early has seen no pair of cells, and no cluster, more than one such group or two ahead
    of the others. All raters take the same probes and samples first, in orders of their own, so that their agreement
    can be told.

    Two answers of the same text are left out, for there is nothing to choose. They are ties all the same (`same`):
    to count only where answers differ would make every difference between cells look larger than it is.
    """
    drawn = _draw(answers, probes, template_literals, rater, seed, own or {})
    return [pair for pair in drawn if pair.left.text != pair.right.text]


def same(
    answers: Sequence[Answer],
    probes: Sequence[Probe],
    template_literals: TemplateLiterals,
    ratings: Iterable[Rating],
    seed: int,
    own: Own | None = None,
) -> list[Rating]:
    """Return a tie for each pair of equal texts that a rater passed by, as ratings that nobody was asked for.

    Passed by is what lies before the last pair that the rater rated. Beyond that, equal texts wait as all others do:
    to count them all at once would make everything a tie while few of the differing pairs are rated.
    """
    seen: dict[str, set[str]] = {}
    for rating in ratings:
        seen.setdefault(rating.rater, set()).add(rating.pair)
    ties = []
    for rater, rated in seen.items():
        order = _draw(answers, probes, template_literals, rater, seed, own or {})
        last = max((place for place, pair in enumerate(order) if pair.id in rated), default=0)
        equal = (pair for pair in order[:last] if pair.left.text == pair.right.text)
        ties += [Rating.of(pair, rater, "tie", asked=False) for pair in equal]
    return ties


def _draw(
    answers: Iterable[Answer],
    probes: Sequence[Probe],
    template_literals: TemplateLiterals,
    rater: str,
    seed: int,
    own: Own,
) -> list[RatedPair]:
    """Return all pairs in the rater's order, those of equal texts too."""
    about = Context(template_literals={name: tuple(lines) for name, lines in template_literals.items()})
    answers = list(answers)
    prompts = _prompts(answers, own)
    asked = (a for a in answers if a.trained_on is None or a.prompted_with == prompts.get(a.trained_on))
    sides = {(side.cell, a.probe, a.sample): side for a in asked for side in [_side(a, about)]}
    seeds = {cell.arm.seed for cell, _, _ in sides if cell.arm.variant is not None}
    drawn = []
    for trained, probe, sample in _groups(sides, probes, sorted(seeds, key=str), rater, seed):
        cells = [Cell(Arm(name, trained), prompt) for name, prompt in prompts.items()]
        found = _pairs_of(cells, probe, sample, sides)
        drawn += sorted(found, key=lambda pair: stream_seed("rate order", seed, rater, pair.id))
    turned = (stream_seed("rate side", seed, rater, pair.id) % 2 for pair in drawn)
    return [RatedPair(p.id, p.probe, p.right, p.left) if turn else p for p, turn in zip(drawn, turned, strict=True)]


def _prompts(answers: Iterable[Answer], own: Own) -> dict[str, str]:
    """Return each variant with the first of its templates that it was asked under, in the variants' order."""
    asked = {(a.trained_on, a.prompted_with) for a in answers if a.trained_on is not None}
    names = sorted({str(name) for name, _ in asked})
    found = {name: [t for t in own.get(name, (name,)) if (name, t) in asked] for name in names}
    return {name: templates[0] for name, templates in found.items() if templates}


def _side(answer: Answer, about: Context) -> RatedSide:
    cell = Cell(Arm(answer.trained_on, answer.seed), answer.prompted_with)
    return RatedSide(cell, answer.sample, without_leaks(answer.text, about), signature_of(answer))


def _groups(
    places: Iterable[tuple[Cell, str, int]], probes: Sequence[Probe], seeds: list[int | None], rater: str, seed: int
) -> Iterator[tuple[int | None, str, int]]:
    """Yield (training seed, probe, sample) in the rater's order.

    All (training seed, cluster) come once before any comes a second time, and then with another probe, or another
    sample where there is none. Samples are independent draws, so their own order is as good as any.
    """
    clusters = clusters_of(probes)
    answered = {(probe, sample) for _, probe, sample in places if probe in clusters}
    waiting: dict[str, list[tuple[str, int]]] = {}
    for probe, sample in sorted(answered, key=lambda place: (place[1], stream_seed("rate probe", seed, place[0]))):
        waiting.setdefault(clusters[probe], []).append((probe, sample))
    for layer in range(max(map(len, waiting.values()), default=0)):
        there = [cluster for cluster in waiting if layer < len(waiting[cluster])]
        for one, cluster in _turns(seeds, there, rater, seed, layer):
            yield one, *waiting[cluster][layer]


def _turns(
    seeds: Sequence[int | None], clusters: Sequence[str], rater: str, seed: int, layer: int
) -> Iterator[tuple[int | None, str]]:
    """Yield each (training seed, cluster) once; any part from the start holds both about equally often.

    Step t takes seed t and cluster t, each modulo their number, one cluster further after each common multiple. What
    is shuffled for the rater are stretches within which no seed and no cluster comes twice.
    """
    S, C = len(seeds), len(clusters)
    if not S or not C:
        return
    steps = [(seeds[t % S], clusters[(t + t // math.lcm(S, C)) % C]) for t in range(S * C)]
    for sweep in _cut(steps, max(S, C)):
        stretches = _cut(sweep, min(S, C))
        for stretch in _shuffled(stretches, "rate stretch", seed, rater, layer):
            yield from _shuffled(stretch, "rate group", seed, rater, layer)


def _cut(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _shuffled(items: Iterable[T], *names: str | int) -> list[T]:
    return sorted(items, key=lambda item: stream_seed(*names, repr(item)))


def _pairs_of(
    cells: Sequence[Cell], probe: str, sample: int, sides: Mapping[tuple[Cell, str, int], RatedSide]
) -> Iterator[RatedPair]:
    """Yield the pairs of these cells and their bases, the side whose cell's name comes first on the left."""
    for couple in [*combinations(cells, 2), *((cell, Cell(Arm(), cell.prompted_with)) for cell in cells)]:
        one, two = sorted(couple, key=lambda cell: cell.name)
        if (one, probe, sample) in sides and (two, probe, sample) in sides:
            name = "\x1f".join((probe, one.name, two.name, str(sample)))
            made = hashlib.sha256(name.encode()).hexdigest()[:16]
            yield RatedPair(made, probe, sides[one, probe, sample], sides[two, probe, sample])
