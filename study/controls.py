"""The controls of PLAN.md: planted effects must be found, and twelve seeds of one template must not differ."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from scores import Probes, Published

from iikata.stats.interval import estimate, mean_squares
from iikata.stats.permutation import sign_flip_p

ALPHA = 0.05
MOST_SPLITS, LEAST_SPLITS = 0.09, 0.02
WITHIN = 2
"""Standard errors by which a planted effect may miss what was foretold."""


def negative(probes: Probes, control: str, again: str = "again") -> dict[str, Any]:
    """Test every split of the control's seeds and `again`'s in two halves as a pair of templates would be."""
    sides = [*probes.rows(control, control).values(), *probes.rows(again, control).values()]
    sides = sides[: len(sides) // 2 * 2]  # halves: where an arm was given up, the last seed is left out too
    keep = np.isfinite(np.stack(sides)).all(axis=0)
    values = probes.by_cluster(np.stack(sides), keep)
    count = len(values)
    halves = [(0, *rest) for rest in combinations(range(1, count), count // 2 - 1)]
    others = [[seed for seed in range(count) if seed not in half] for half in halves]
    d = values[np.array(halves)] - values[np.array(others)]
    found = estimate(d, ALPHA, probes.info.span)
    suspects = np.flatnonzero(found.p < ALPHA)
    agrees = [float(sign_flip_p(d[place].mean(axis=0))) < ALPHA for place in suspects]
    share = float(np.mean(found.p < ALPHA))
    return {
        "metric": probes.metric,
        "seeds": count,
        "splits": len(halves),
        "clusters": d.shape[-1],
        "below_alpha": share,
        "matters": sum(agrees) / len(halves),
        "largest_difference": float(np.abs(found.difference).max()),
        "holds": share <= MOST_SPLITS,
        "strict": share < LEAST_SPLITS,
    }


def contrast(probes: Probes, treatment: tuple[str, str], control: tuple[str, str]) -> dict[str, Any]:
    """Return the difference of two sides on their common seeds, with its interval and the two-way standard error."""
    one, two = probes.rows(*treatment), probes.rows(*control)
    seeds = [seed for seed in one if seed in two]
    keep = probes.whole([(t, s, p) for t, p in (treatment, control) for s in seeds])
    pairs = np.stack([one[seed] - two[seed] for seed in seeds])
    d = probes.by_cluster(pairs, keep)
    found = estimate(d, ALPHA, probes.info.span)
    half, difference = float(found.half), float(found.difference)
    S, C = d.shape
    seed, cluster, rest = mean_squares(d).components
    return {
        "difference": difference,
        "interval": [difference - half, difference + half],
        "se": math.sqrt(seed / S + cluster / C + rest / (S * C)),
        "p": float(found.p),
        "p_permutation": float(sign_flip_p(d.mean(axis=0))),
        "mde": float(found.mde),
        "seeds": S,
        "clusters": C,
    }


def planted(
    tested: Published, pilot: Published, control: str, foretold: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Hold each planted effect against what the pilot foretold."""
    made = {}
    for name, expected in foretold.items():
        found = contrast(tested["nll"], (name, control), (control, control))
        before = contrast(pilot["nll"], (name, control), ("clean", control))
        apart = abs(found["difference"] - expected) / math.hypot(found["se"], before["se"])
        worse = found["difference"] > 0 and found["p"] < ALPHA and found["p_permutation"] < ALPHA
        asked = not name.endswith("-10") or expected > found["mde"]
        made[name] = {
            **found,
            "foretold": expected,
            "pilot_se": before["se"],
            "standard_errors_apart": apart,
            "found_worse": worse,
            "must_be_found": asked,
            "holds": apart <= WITHIN and (worse or not asked),
        }
    return made
