"""Two guessers are not equivalent: where both cells may be guessing, nothing is concluded."""

import numpy as np
import pytest

from iikata.core.records import Probe, Score
from iikata.metrics import get
from iikata.metrics.choice import chance_of, with_chance
from iikata.stats import compare

METRICS = {"choice": get("choice")}


def scores(tuned, base, choices=5, probes=200, seeds=3, signature=None):
    rng = np.random.default_rng(1)
    asked = [Probe(f"q{i}", "?", choices=tuple(map(str, range(choices))), answer=0) for i in range(probes)]
    signed = with_chance(METRICS["choice"].signature, asked) if signature is None else signature
    for name, rate, count in (("plain", tuned, seeds), (None, base, 1)):
        for seed in range(count):
            for one, value in zip(asked, rng.random(probes) < rate, strict=True):
                cell = (name, seed if name else None, "plain")
                yield Score(*cell, one.id, one.id, 0, "choice", float(value), signed)


def verdict(**changes):
    result = compare(scores(**changes), METRICS, "choice", {"choice": 0.2})
    (one,) = (c for c in result.comparisons if c.question == "tuned_vs_base")
    return one.verdict, [gate["name"] for gate in one.gates]


@pytest.mark.parametrize(
    ("tuned", "base", "wanted"),
    [(0.2, 0.2, True), (0.2, 0.6, False), (0.6, 0.2, False), (0.6, 0.6, False), (0.05, 0.05, False)],
)
def test_the_gate_closes_where_both_intervals_hold_chance_and_nowhere_else(tuned, base, wanted):
    word, gates = verdict(tuned=tuned, base=base)
    assert ("chance" in gates) == wanted
    assert (word == "NOT_ASSESSABLE") == bool(gates)


def test_chance_follows_the_number_of_choices():
    assert "chance" in verdict(tuned=0.5, base=0.5, choices=2)[1]
    assert "chance" not in verdict(tuned=0.5, base=0.5, choices=5)[1]


def test_scores_that_do_not_say_what_chance_is_have_no_such_gate():
    assert "chance" not in verdict(tuned=0.2, base=0.2, signature="mine")[1]
    assert chance_of(["mine"]) is None


def test_chance_is_the_mean_of_one_over_the_number_of_choices():
    probes = [Probe("a", "?", choices=("1", "2")), Probe("b", "?", choices=("1", "2", "3", "4")), Probe("c", "?")]
    assert chance_of([with_chance("choice|v:1", probes)]) == pytest.approx((1 / 2 + 1 / 4) / 2)
