"""Simulate adapters from elsewhere, which have no pairs: how often the unpaired forms are wrong, and pairing by order.

    python bench/calibration_unpaired.py [--sims N]

Two sides of S_A and S_B adapters on C common clusters, seed SDs equal or one to two and a half. Prints the table of
docs/statistics.md; iikata's own code judges. "By order" pairs the adapters as they are listed, takes the widest of the
paired forms, and lets the reader try every order of the second side: how often one of them finds p < 0.05 where
there is no difference.
"""

import zlib
from dataclasses import dataclass
from itertools import islice, permutations, product

import numpy as np
from calibration import ALPHA, MARGIN, percent, tabulate, word

from iikata.stats.interval import MIN_SEEDS, estimate
from iikata.stats.permutation import sign_flip_p
from iikata.stats.unpaired import estimate_unpaired

SIZES = ((2, 3), (3, 3), (3, 5), (3, 8), (5, 5), (8, 8))
MOST_ORDERS = 24


@dataclass(frozen=True)
class Design:
    """One row of the table."""

    S: tuple[int, int]
    C: int
    sd: tuple[float, float]
    """Of the adapters' means, on either side."""

    def sides(self, sims: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """Return both sides' scores [sim, S, C]; a side of fewer than 3 is fixed: its adapters are the question."""
        rng = np.random.default_rng(zlib.crc32(f"{self} {shift}".encode()))
        made = []
        for S, sd in zip(self.S, self.sd, strict=True):
            adapters = rng.standard_normal((sims, S, 1)) * (sd if S >= MIN_SEEDS else 0.0)
            spread = 0.07 * rng.standard_normal((sims, 1, self.C)) + 0.05 * rng.standard_normal((sims, S, self.C))
            made.append(adapters + spread)
        return made[0] + shift, made[1]


def row(design: Design, sims: int) -> list[str]:
    """Return the rates in percent."""
    one, two = design.sides(sims, 0.0)
    null = estimate_unpaired(one, two, ALPHA)
    apart = design.sides(sims, MARGIN)
    shifted = estimate_unpaired(*apart, ALPHA)
    flips = sign_flip_p(apart[0].mean(axis=1) - apart[1].mean(axis=1))
    rates = [
        np.mean(null.p < ALPHA),
        np.mean(np.abs(shifted.difference - MARGIN) > shifted.half),
        np.mean([one in ("EQUIVALENT", "SMALL") for one in words(shifted, flips)]),
        np.mean((shifted.p < ALPHA) & (flips < ALPHA)),
        by_order(one, two) if design.S[0] == design.S[1] else None,
    ]
    told = map(percent, rates)
    return [f"{design.S[0]} and {design.S[1]}", str(design.C), f"{design.sd[0]:g} and {design.sd[1]:g}", *told]


def words(found, flips: np.ndarray) -> list[str]:  # type: ignore[no-untyped-def]
    """Return the verdicts under the margin."""
    numbers = (found.difference, found.half, found.half_90, found.p, flips)
    return [word(*map(float, one), MARGIN) for one in zip(*numbers, strict=True)]


def by_order(one: np.ndarray, two: np.ndarray) -> float:
    """Return how often some order of the second side's adapters finds a difference that is not there."""
    found = np.zeros(len(one), dtype=bool)
    for order in islice(permutations(range(two.shape[1])), MOST_ORDERS):
        found |= estimate(one - two[:, list(order)], ALPHA).p < ALPHA
    return float(found.mean())


def main() -> None:
    head = ["adapters", "clusters", "SD between adapters", "false positive", "missed at the margin"]
    head += ["false equivalence", "power", "by order: some order finds p < 0.05"]
    sds = ((0.0, 0.0), (0.02, 0.02), (0.02, 0.05), (0.05, 0.02))
    designs = [Design(*one) for one in product(SIZES, (30, 90), sds) if one[2] != (0.05, 0.02) or len({*one[0]}) > 1]
    tabulate(str(__doc__), head, designs, row, f"margin {MARGIN}; ", usual=10000)


if __name__ == "__main__":
    main()
