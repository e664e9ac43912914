"""Simulate margins that are 10% of the gain: how often equivalence is claimed of templates that lie the margin apart.

    python bench/calibration_margin.py [--sims N]

Two templates and the untuned model, S seeds, C clusters of which a third measures the gain. The templates truly differ
by the margin as it was measured, or by 10% of the true gain. Beside: tested on all clusters, those that measured too.
Prints the table of docs/statistics.md; iikata's own code judges, as in calibration.py.
"""

import zlib
from itertools import product

import numpy as np
from calibration import ALPHA, Judged, judge, percent, tabulate, verdicts

from iikata.stats.interval import estimate
from iikata.stats.pairing import choosing_third

SHARE, GAIN = 0.10, 0.30


def experiment(S: int, C: int, seed_sd: float, sims: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tuned scores [sim, template, seed, cluster] and the base's [sim, cluster]; lower is better."""
    draw = np.random.default_rng(zlib.crc32(f"{S} {C} {seed_sd}".encode())).standard_normal
    hard = 0.3 * draw((sims, 1, 1, C))
    tuned = hard + 0.05 * draw((sims, 2, 1, C)) + seed_sd * draw((sims, 2, S, 1)) + 0.03 * draw((sims, 2, S, C))
    return tuned, GAIN + hard[:, 0, 0] + 0.15 * draw((sims, C))


def claimed(pairs: Judged, margins: np.ndarray) -> float:
    """Return how often EQUIVALENT or SMALL is said, of all experiments; none where there is no margin."""
    told = [verdicts([pairs], sim, margin)[0] for sim, margin in enumerate(margins) if margin > 0]
    return sum(word in ("EQUIVALENT", "SMALL") for word in told) / len(margins)


def row(S: int, C: int, seed_sd: float, sims: int) -> list[str]:
    """Return the rates in percent."""
    tuned, base = experiment(S, C, seed_sd, sims)
    third = choosing_third([f"c{i}" for i in range(C)])
    gain = estimate(base[:, None, third] - tuned[..., third].mean(axis=1), ALPHA)
    margins = np.where(gain.difference > gain.half, SHARE * gain.difference, 0.0)
    d = tuned[:, 0] - tuned[:, 1]
    apart = d + margins[:, None, None]
    rates = [
        np.mean(margins > 0),
        claimed(judge(apart[..., ~third], None), margins),
        claimed(judge(apart, None), margins),
        claimed(judge(d[..., ~third] + SHARE * GAIN, None), margins),
        claimed(judge(d[..., ~third], None), margins),
    ]
    return [f"{S} x {C}", f"{seed_sd}", *map(percent, rates)]


def main() -> None:
    head = ["S x C", "seed SD", "a margin was set", "false equivalence", "tested on all clusters"]
    head += ["10% of the true gain apart", "equivalent where nothing differs"]
    designs = product((3, 5, 8), (30, 90, 300), (0.005, 0.02))
    tabulate(str(__doc__), head, designs, lambda design, sims: row(*design, sims), f"true gain {GAIN}, ")


if __name__ == "__main__":
    main()
