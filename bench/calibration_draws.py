"""Simulate the untuned model with examples: draws that choose, draws that are tested, and how often a verdict is wrong.

    python bench/calibration_draws.py [--sims N]

S seeds of one tuned variant against the best of the untuned model without examples and with them (n draws, half of
which choose, on the third of the clusters that chooses), tested on the other draws and clusters. Without examples the
untuned model is as good, or worse by `gap`. Prints the table of docs/statistics.md; iikata's own code judges.
"""

import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np
from calibration import ALPHA, MARGIN, percent, tabulate
from calibration_unpaired import words

from iikata.stats.interval import estimate
from iikata.stats.pairing import choosing_third
from iikata.stats.permutation import sign_flip_p
from iikata.stats.unpaired import estimate_unpaired


@dataclass(frozen=True)
class Design:
    """One row of the table."""

    S: int
    draws: int
    C: int
    sd: float
    """Between draws."""
    gap: float
    """What the untuned model without examples is worse by; lower scores are better."""


def judged(design: Design, sims: int, shift: float) -> np.ndarray:
    """Return [sim, 4]: p < alpha, missed, called equivalent or small, found; the tuned side is worse by `shift`."""
    rng = np.random.default_rng(zlib.crc32(f"{design} {shift}".encode()))
    draw, C = rng.standard_normal, design.C
    own = [0.07 * draw((sims, 1, C)) for _ in range(3)]
    plain = design.gap + own[0] + 0.05 * draw((sims, 1, C))
    shown = own[1] + design.sd * draw((sims, design.draws, 1)) + 0.05 * draw((sims, design.draws, C))
    tuned = shift + own[2] + 0.02 * draw((sims, design.S, 1)) + 0.05 * draw((sims, design.S, C))
    third, half = choosing_third([f"p{n}" for n in range(C)]), design.draws // 2
    with_shots = shown[:, :half, third].mean(axis=(1, 2)) < plain[:, :, third].mean(axis=(1, 2))
    made = np.zeros((sims, 4))
    for chosen in (True, False):
        one, of = tuned[with_shots == chosen][..., ~third], (shown[:, half:] if chosen else plain)
        two = of[with_shots == chosen][..., ~third]
        if not len(one):
            continue
        found = estimate_unpaired(one, two, ALPHA) if chosen else estimate(one - two, ALPHA)
        truth = shift - (0.0 if chosen else design.gap)
        flips = sign_flip_p(one.mean(axis=1) - two.mean(axis=1))
        equal = np.array([word in ("EQUIVALENT", "SMALL") for word in words(found, flips)])
        rates = [found.p < ALPHA, np.abs(found.difference - truth) > found.half, equal & (abs(truth) >= MARGIN)]
        made[with_shots == chosen] = np.stack([*rates, (found.p < ALPHA) & (flips < ALPHA)], axis=1)
    return made


def row(design: Design, sims: int) -> list[str]:
    """Return the rates in percent."""
    null, apart = judged(design, sims, 0.0).mean(axis=0), judged(design, sims, MARGIN).mean(axis=0)
    rates = [null[0] if design.gap == 0 else None, null[1], apart[2], apart[3]]
    told = map(percent, rates)
    return [f"{design.S}", f"{design.draws}", str(design.C), f"{design.sd:g}", f"{design.gap:g}", *told]


def main() -> None:
    head = ["seeds", "draws", "clusters", "SD between draws", "gap"]
    head += ["false positive", "missed", "false equivalence", "power"]
    designs = [Design(*one) for one in product((3, 5), (4, 6), (30, 90), (0.0, 0.05), (0.0, 0.05))]
    tabulate(str(__doc__), head, designs, row, f"margin {MARGIN}; ")


if __name__ == "__main__":
    main()
