"""Say before training what effect an experiment can find, and where more compute buys most."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from iikata.core.errors import IikataError
from iikata.core.records import Score
from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS, POWER, mean_squares, scope_of, settles
from iikata.stats.pairing import Side, choosing_third, complete_clusters, pair
from iikata.stats.table import Panel, ScoreTable, panels, tabulate


@dataclass(frozen=True)
class Components:
    """Standard deviations of one arm's score, in the metric's unit.

    score = template + seed + seed_template + probe + probe_template + residual + sample. What a seed or a probe does
    to all templates alike cancels in a difference on common seeds and probes; the interactions do not.
    """

    seed_template: float
    """Between seeds of one template, beyond what the seed does to every template."""
    probe_template: float
    """Between probe clusters, beyond what makes a cluster hard under every template."""
    sample: float
    """Between sampled answers of one adapter to one probe; 0 for a held-out likelihood."""
    residual: float = 0.0
    """What a seed, a template and a probe do together, samples aside."""
    seed: float = 0.0
    probe: float = 0.0


@dataclass(frozen=True)
class Power:
    """What a design can find and show."""

    seeds: int
    probes: int
    samples: int
    detectable: float
    """Smallest true difference of a pair of templates found with 80% power after Holm's first step."""
    equivalent_margin: float
    """Smallest margin within which a pair without any difference is called EQUIVALENT with 80% power."""
    more: Mapping[str, float]
    """`detectable` after spending the price of one more seed on "seeds", "probes" or "samples"; without those that
    would make it speak about something else, whose numbers are others."""
    buys_most: str | None
    """Which of them brings `detectable` down most; None where none does."""
    scope: str | None
    """What `detectable` speaks about; None where seeds and clusters are too few for any claim, and it is NaN."""
    seed_noise: float
    """Standard deviation of a difference from the choice of seeds alone; part of `detectable` for the recipe only."""


def answerable(seeds: int, clusters: int) -> str | None:
    """Return the scope of what so many seeds and clusters can answer, None where they can answer nothing."""
    too_few = clusters < 1 or (seeds < MIN_SEEDS and clusters < MIN_CLUSTERS)
    return None if too_few else scope_of(seeds, clusters)


def tested_clusters(clusters: int) -> int:
    """Return how many are left to test against the best base, where a third of them chooses its template."""
    return int((~choosing_third([str(n) for n in range(clusters)])).sum())


def power(
    components: Components,
    seeds: int,
    probes: int,
    samples: int,
    templates: int = 2,
    alpha: float = 0.05,
    train_share: float = 0.5,
) -> Power:
    """Return what `seeds` x `probes` (clusters) x `samples` can detect between matched templates.

    The intervals are the comparison's own, for the mean squares that the components lead one to expect.
    `train_share` is the part of the compute that training takes: a seed costs 1 / seeds of all of it, a probe or a
    sample its part of the rest.
    """
    for name, value in (("seeds", seeds), ("probes", probes), ("samples", samples)):
        if value < 1:
            raise IikataError(f"{name} must be at least 1, saw {value}.")
    if not 0 <= train_share < 1:
        raise IikataError(f"train_share must lie in 0 <= share < 1, saw {train_share}.")
    pairs = templates * (templates - 1) // 2
    if not pairs:
        return Power(seeds, probes, samples, math.nan, math.nan, {}, None, None, math.nan)
    growth = 1 + 1 / seeds / (1 - train_share)
    options = {
        "seeds": (seeds + 1, probes, samples),
        "probes": (seeds, math.floor(probes * growth), samples),
        "samples": (seeds, probes, math.floor(samples * growth)),
    }
    tails = alpha / pairs / 2, 1 - POWER
    scope, now = answerable(seeds, probes), _settles(components, seeds, probes, samples, tails)
    more = {
        name: _settles(components, *design, tails)
        for name, design in options.items()
        if scope and answerable(*design[:2]) == scope and (name != "samples" or components.sample)
    }
    best = min(more, key=lambda name: more[name], default=None)
    return Power(
        seeds,
        probes,
        samples,
        detectable=now,
        equivalent_margin=_settles(components, seeds, probes, samples, (alpha, (1 - POWER) / 2)),
        more=more,
        buys_most=best if best and more[best] < now else None,
        scope=scope,
        seed_noise=math.sqrt(2 / seeds) * components.seed_template,
    )


def _settles(c: Components, seeds: int, probes: int, samples: int, tails: tuple[float, float]) -> float:
    """Return the widest form's standard error times the sum of the two t quantiles; NaN where nothing is settled."""
    if answerable(seeds, probes) is None:
        return math.nan
    # Two arms stand in a difference, so every variance counts twice.
    residual = 2 * (c.residual**2 + c.sample**2 / samples)
    return settles(2 * c.seed_template**2, 2 * c.probe_template**2, residual, seeds, probes, *tails)


def variance_components(scores: ScoreTable | Iterable[Score], metric: str) -> Components:
    """Take a finished run as the pilot: estimate the components of `metric` from its matched cells.

    Averaged over the pairs of templates (their differences hold the interactions, twice); with one template, its
    whole spread is taken for interaction, which overstates it. Raises IikataError where there is no cell with two
    seeds and two probe clusters.
    """
    table = scores if isinstance(scores, ScoreTable) else tabulate(scores)
    panel = panels(table).get(metric)
    if panel is None:
        raise IikataError(f'no score of metric "{metric}". The scores have: {", ".join(table.names["metric"])}.')
    matched = {t: p for t, p in panel.sides() if t is not None and p in panel.own(t)}
    arms = [complete_clusters(panel, list(panel.rows(t, p).values()))[0] for t, p in matched.items()]
    sides = [Side.of(t, p, panel.variants[t].levels if t in panel.variants else ()) for t, p in matched.items()]
    pairs = [pair(panel, a, b) for a, b in combinations(sides, 2)]
    layouts = [one.d / math.sqrt(2) for one in pairs if one.paired] or arms
    layouts = [d for d in layouts if min(d.shape) > 1]
    if not layouts:
        need = "two seeds and two probe clusters that its templates share"
        raise IikataError(f"{metric}: the pilot needs {need}. Give another run, or leave --pilot out.")
    seed, cluster, rest = _average(layouts)
    arm_seed, arm_cluster, _ = _average([a for a in arms if min(a.shape) > 1])
    sample, within = _sample_variance(table, panel, matched)
    return Components(
        seed_template=math.sqrt(seed),
        probe_template=math.sqrt(cluster),
        sample=math.sqrt(sample),
        residual=math.sqrt(max(0.0, rest - within)),
        seed=math.sqrt(max(0.0, arm_seed - seed)),
        probe=math.sqrt(max(0.0, arm_cluster - cluster)),
    )


def _average(layouts: list[np.ndarray]) -> tuple[float, float, float]:
    """Return the mean variance components (seed, cluster, residual) of several d[S, C]."""
    seed, cluster, rest = np.mean([mean_squares(d).components for d in layouts], axis=0)
    return float(seed), float(cluster), float(rest)


def _sample_variance(table: ScoreTable, panel: Panel, matched: dict[str, str]) -> tuple[float, float]:
    """Return the variance between samples of one answer, and what is left of it in a cluster's mean."""
    rows = [i for t, p in matched.items() for i in panel.rows(t, p).values()]
    cell, probe, metric = (table.codes[n] for n in ("cell", "probe", "metric"))
    mine = (metric == table.names["metric"].index(panel.metric)) & np.isfinite(table.value)
    mine &= np.isin(cell, [table.names["cell"].index(panel.cells[i]) for i in rows])
    answer = cell[mine].astype(np.int64) * len(table.names["probe"]) + probe[mine]
    _, group = np.unique(answer, return_inverse=True)
    value, count = table.value[mine], np.bincount(group)
    mean = np.bincount(group, value) / count
    freedom = len(value) - len(count)
    variance = float(((value - mean[group]) ** 2).sum() / freedom) if freedom else 0.0
    samples, sizes = len(value) / len(count), panel.mean.shape[1] / len(panel.clusters)
    return variance, variance / samples / sizes
