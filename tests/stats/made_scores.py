"""Score records made from plain tables of numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from iikata.core.records import Score
from iikata.metrics import Metric
from iikata.stats.table import NAMED, ScoreTable

NUMBER = Metric.declared("m", "higher", None, "marks", "content")
RATE = Metric.declared("m", "higher", (0.0, 1.0), "share of answers", "content")


def made(
    cells: Mapping[tuple[str | None, str], np.ndarray],
    metric: str = "m",
    clusters: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Score]:
    """Return the scores of {(trained_on, prompted_with): [seed, probe] or [seed, probe, sample]}.

    The base's table has a single row. `clusters` names each probe's cluster; without it each is its own.
    """
    scores = []
    for (trained_on, prompted_with), table in cells.items():
        table = np.atleast_2d(table)
        table = table[..., None] if table.ndim == 2 else table
        for (s, p, k), value in np.ndenumerate(table):
            seed = None if trained_on is None else seeds[s] if seeds else s
            cluster = clusters[p] if clusters else f"p{p:03d}"
            scores.append(
                Score(trained_on, seed, prompted_with, f"p{p:03d}", cluster, k, metric, float(value), "m|v:1")
            )
    return scores


def records(table: ScoreTable) -> list[Score]:
    """Return a table's lines as records."""
    cell, probe, cluster, metric, signature = (map(table.names[n].__getitem__, table.codes[n]) for n in NAMED)
    lines = zip(cell, probe, cluster, table.sample.tolist(), metric, table.value.tolist(), signature, strict=True)
    return [Score(*one, *more) for one, *more in lines]


def normal(S: int, C: int, mean: float = 0.0, seed_sd: float = 0.05, probe_sd: float = 0.1, rng: int = 0) -> np.ndarray:
    """Return a table [seed, probe] with normal seed, probe and residual effects."""
    draw = np.random.default_rng(rng).normal
    return mean + draw(0, seed_sd, (S, 1)) + draw(0, probe_sd, (1, C)) + draw(0, 0.05, (S, C))


def one(result, question, **sides):
    """Return the only comparison of a question between these templates, each prompted alike."""
    found = [c for c in result.comparisons if c.question == question]
    (comparison,) = [c for c in found if all(getattr(c, side)["trained_on"] == t for side, t in sides.items())]
    return comparison
