"""Every gate that a comparison finds itself gives its reason in both languages, with the same numbers."""

import re

import numpy as np
import pytest
from made_scores import made, normal

from both_languages import in_both
from iikata.core.bilingual import Both
from iikata.core.records import Gate
from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.phrases import GATES_JA

RATE = Metric.declared("m", "higher", (0, 1), "share of answers", "content")


def gates_of(tables, metric=RATE, gates=(), **more):
    result = compare(made(tables, metric.name), {metric.name: metric}, metric.name, gates=gates, **more)
    return [gate for one in result.comparisons for gate in one.gates], result.verdict


@pytest.mark.parametrize(("name", "level"), [("floor", 0.01), ("ceiling", 0.99)])
def test_a_comparison_says_why_in_both(name, level):
    found, verdict = gates_of({("A", "A"): np.full((3, 12), level), ("B", "B"): np.full((3, 12), level)})
    told = {gate["name"]: gate for gate in found}
    assert f"{level:.1%}" in told[name]["detail_ja"]
    for gate in found:
        in_both(Both(gate["detail"], gate["detail_ja"]), gate["name"])
        assert gate["name"] in GATES_JA
    assert GATES_JA[name] in verdict["sentence_ja"]


def test_a_gate_that_was_handed_in_keeps_its_reason_and_an_old_one_its_english():
    tables = {("A", "A"): normal(3, 12, 0.5, rng=1), ("B", "B"): normal(3, 12, 0.4, rng=2)}
    plain = Metric.declared("m", "higher", None, "", "content")
    dead = Gate.of("live_adapter", "A.s1", False, Both("||B|| = 0", "||B|| = 0 です"))
    _, verdict = gates_of(tables, plain, [dead])
    assert "live_adapter A.s1: ||B|| = 0 です" in verdict["sentence_ja"]
    assert "live_adapter A.s1: ||B|| = 0" in verdict["sentence_en"]
    assert not re.search("です", verdict["sentence_en"])
    found, verdict = gates_of(tables, plain, [Gate("live_adapter", "A.s1", False, "an earlier run's")])
    assert "live_adapter A.s1: an earlier run's" in verdict["sentence_ja"]
    assert {gate["detail_ja"] for gate in found} == {"an earlier run's"}


def test_every_gate_of_scores_is_said_in_both():
    from iikata.stats.gates import score_gates

    likely = Metric.declared("nll", "lower", None, "bits per byte", "likelihood")

    class Shown:
        missing, shape = (0.3, 0.1), (3, 12)
        treatment = control = np.full((3, 12), 0.25)

    class Empty(Shown):
        shape = (0, 12)

    asked = [(Shown(), likely, 0.5, None), (Shown(), RATE, 0.0, 0.25), (Empty(), RATE, 0.0, None)]
    found = [gate for one in asked for gate in score_gates(*one)]
    assert {gate["name"] for gate in found} == {"rows_left_out", "missing_scores", "chance", "nothing_to_pair"}
    for gate in found:
        in_both(Both(gate["detail"], gate["detail_ja"]), gate["name"])
