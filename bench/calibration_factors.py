"""Simulate factors whose truth is known: how often `others: best` and `average` are wrong, and naive ways beside them.

    python bench/calibration_factors.py [--sims N]

Two levels, K other settings each, S testing seeds and 2 choosing seeds, C clusters of which a third chooses. A level's
curve over the settings is flat, or has a peak; the best settings of both levels are equally good. Seed SDs are 0.02 and
0.05 in the two levels. Prints the table of docs/statistics.md; iikata's own code judges, as in calibration.py.
"""

import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np
from calibration import ALPHA, MARGIN, judge, percent, tabulate, verdicts

from iikata.stats.factors import LEAST_CHOOSING
from iikata.stats.pairing import choosing_third

SEED_SD = np.array([0.02, 0.05])
STEP = 0.05
"""What the next setting from a peak costs."""


@dataclass(frozen=True)
class Design:
    """One row of the table."""

    curve: str
    K: int
    S: int
    """Testing seeds."""
    C: int

    def curves(self) -> np.ndarray:
        """Return [level, setting], what a setting costs beyond the best of its level."""
        peak = np.abs(np.arange(self.K) - self.K // 2) * STEP
        flat = np.zeros(self.K)
        return np.stack({"flat": (flat, flat), "peaked": (peak, peak), "flat, peaked": (flat, peak)}[self.curve])

    def scores(self, sims: int, shift: float) -> np.ndarray:
        """Return scores [sim, level, setting, seed, cluster]; lower is better; `shift` is added to the first level."""
        rng = np.random.default_rng(zlib.crc32(f"{self} {shift}".encode()))
        seeds, draw = self.S + LEAST_CHOOSING, rng.standard_normal
        y = self.curves()[:, :, None, None] + 0.07 * draw((sims, 2, self.K, 1, self.C))
        y = y + SEED_SD[:, None, None, None] * draw((sims, 2, self.K, seeds, 1))
        y += 0.05 * draw((sims, 2, self.K, seeds, self.C))
        y[:, 0] += shift
        return y


@dataclass
class Way:
    """One way of dealing with the other settings, in all simulated experiments."""

    d: np.ndarray
    """[sim, seed, cluster]."""
    truth: np.ndarray
    """[sim]: the true difference between what was compared."""


def ways(design: Design, y: np.ndarray, shift: float) -> dict[str, Way]:
    third = choosing_third([f"c{i}" for i in range(design.C)])
    choosing, testing = slice(0, LEAST_CHOOSING), slice(LEAST_CHOOSING, None)
    curves = design.curves()

    def best_on(seeds: slice, clusters: np.ndarray) -> Way:
        best = y[:, :, :, seeds][..., clusters].mean(axis=(-2, -1)).argmin(axis=2)
        picked = np.take_along_axis(y, best[:, :, None, None, None], axis=2)[:, :, 0, testing][..., ~third]
        truth = shift + curves[0][best[:, 0]] - curves[1][best[:, 1]]
        return Way(picked[:, 0] - picked[:, 1], truth)

    mean = y[:, :, :, testing].mean(axis=2)
    level = shift + curves[0].mean() - curves[1].mean()
    return {
        "best": best_on(choosing, third),
        "naive": best_on(testing, ~third),
        "average": Way(mean[:, 0] - mean[:, 1], np.full(len(y), level)),
    }


def missed(way: Way) -> float:
    """Return how often the interval misses the true difference between what was compared."""
    pair = judge(way.d, None)
    return float(np.mean(np.abs(pair.difference - way.truth) > pair.half))


def called(way: Way) -> float:
    """Return how often a difference is called between levels whose best settings are equally good."""
    pair = judge(way.d, None)
    return float(np.mean((pair.p < ALPHA) & (pair.p_permutation < ALPHA)))


def equivalent(way: Way) -> float:
    """Return how often equivalence is claimed of settings that truly lie the margin apart or more."""
    pair = judge(way.d, None)
    apart = np.flatnonzero(np.abs(way.truth) >= MARGIN - 1e-12)
    return sum(verdicts([pair], sim, MARGIN)[0] in ("EQUIVALENT", "SMALL") for sim in apart) / max(1, len(apart))


def row(design: Design, sims: int) -> list[str]:
    """Return the rates in percent."""
    null, apart = (ways(design, design.scores(sims, shift), shift) for shift in (0.0, MARGIN))
    rates = [*map(missed, null.values()), *map(equivalent, apart.values()), called(null["best"])]
    return [design.curve, str(design.K), f"{design.S} x {design.C}", *map(percent, rates)]


def main() -> None:
    head = ["curves", "settings", "S x C"]
    head += [f"{name}: {what}" for what in ("missed", "false equivalence") for name in ("best", "naive", "average")]
    head.append("best: called though the bests are equal")
    designs = [Design(*one) for one in product(("flat", "peaked", "flat, peaked"), (3, 9), (3, 5, 8), (30, 90))]
    tabulate(str(__doc__), head, designs, row, f"seed SDs {SEED_SD[0]} and {SEED_SD[1]}, margin {MARGIN}; ")


if __name__ == "__main__":
    main()
