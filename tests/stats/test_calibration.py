"""The error rates that iikata promises, on simulated experiments with a fixed number and fixed seeds.

The whole table, from more simulations, is in docs/statistics.md; bench/calibration.py makes it.
"""

from itertools import combinations

import numpy as np
import pytest
from made_scores import NUMBER, RATE, made

from iikata.stats import compare
from scripts import opened

bench = opened("bench/calibration.py")
SIMS = 1500


LARGE = (
    ("bounded", 3, 40, 0.05, 4), ("bounded", 8, 40, 0.00, 2), ("heavy", 5, 40, 0.02, 4), ("clusters", 5, 40, 0.05, 3),
    ("missing", 3, 40, 0.02, 2), ("base", 3, 100, 0.10, 2),
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "S", "C", "seed_sd", "templates"),
    [("bounded", 5, 12, 0.10, 3), *(pytest.param(*one, marks=pytest.mark.long) for one in LARGE)],
)
def test_errors_stay_within_what_is_promised(kind, S, C, seed_sd, templates):
    told = bench.row(bench.Design(kind, S, C, seed_sd, templates), SIMS)
    assert told["false positive"] <= 0.06
    assert all(told[f"family of {T}"] <= 0.06 for T in range(2, templates + 1))
    assert told["false equivalent"] <= 0.06
    assert min(told["coverage"], told["coverage at margin"]) >= 0.94
    assert 0 < told["power"] <= told["bound"] + 0.02


def test_methods_that_take_seeds_or_samples_for_independent_see_what_is_not_there():
    told = bench.peers(bench.Design("bounded", 5, 40, 0.05), SIMS)
    assert told["pooled z"] > 0.4
    assert told["paired t over probes"] > 0.2
    assert told["crossed bootstrap"] > 0.05


@pytest.mark.parametrize(("kind", "info"), [("bounded", RATE), ("heavy", NUMBER)])
def test_the_simulations_judge_as_the_whole_comparison_does(kind, info):
    design = bench.Design(kind, 3, 12, 0.02, 3)
    y = bench.scores(design, np.random.default_rng(0), 25, shift=0.1)
    pairs = list(combinations(range(3), 2))
    judged = [bench.judge(y[:, a] - y[:, b], info.span) for a, b in pairs]
    seen = set()
    for sim in range(25):
        scores = made({(t, t): y[sim, i] for i, t in enumerate("ABC")})
        matched = [c for c in compare(scores, {"m": info}, "m", {"m": 0.1}).comparisons if c.question == "matched"]
        assert [c.verdict for c in matched] == bench.verdicts(judged, sim, 0.1)
        assert [c.p for c in matched] == pytest.approx([float(j.p[sim]) for j in judged])
        assert [c.interval[1] - c.difference for c in matched] == pytest.approx([float(j.half[sim]) for j in judged])
        seen |= {c.verdict for c in matched}
    assert {"MATTERS", "INCONCLUSIVE", "EQUIVALENT"} <= seen
