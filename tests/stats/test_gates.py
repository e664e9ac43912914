"""What closes a gate of a comparison, and that each says why in both languages, with the same numbers."""

import math
import string

import numpy as np
import pytest
from made_scores import NUMBER, RATE, made, normal, one

from both_languages import JAPANESE
from iikata.core.bilingual import Both
from iikata.core.records import Gate
from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.phrases import GATES_JA, REASONS
from iikata.stats.short_phrases import GATES_SHORT

M = {"m": NUMBER}


def test_likelihood_rows_are_left_out_for_all_templates_alike():
    info = {"m": Metric.declared("m", "lower", None, "bits per byte", "likelihood")}
    tables = {(t, t): normal(3, 20, rng=i) for i, t in enumerate("ABC")}
    tables["C", "C"][:, :3] = math.nan
    result = compare(made(tables), info, "m")
    assert {c.n_clusters for c in result.comparisons} == {17}
    assert result.left_out["rows_not_scored_everywhere"] == {"m": 3}
    assert one(result, "matched", treatment="A", control="B").verdict == "INCONCLUSIVE"
    tables["C", "C"][:, :5] = math.nan
    result = compare(made(tables), info, "m")
    c = one(result, "matched", treatment="A", control="B")
    assert (c.verdict, c.gates[0]["name"]) == ("NOT_ASSESSABLE", "rows_left_out")


def gate_names(result, question="matched"):
    return [g["name"] for g in one(result, question).gates]


def test_missing_scores_may_differ_by_five_points_and_no_more():
    a, b = normal(3, 40, rng=1), normal(3, 40, rng=2)
    a[:, :2] = math.nan
    assert gate_names(compare(made({("A", "A"): a, ("B", "B"): b}), M, "m")) == []
    a[:, :3] = math.nan
    for one_side, other in ((a, b), (b, a)):
        result = compare(made({("A", "A"): one_side, ("B", "B"): other}), M, "m")
        assert gate_names(result) == ["missing_scores"]
        assert result.verdict["template_matters"] == "NOT_ASSESSABLE"


@pytest.mark.parametrize(("a", "b", "gates"), [
    (0.02, 0.04, ["floor"]), (0.97, 0.99, ["ceiling"]), (0.02, 0.30, []), (0.90, 0.99, []),
])  # fmt: skip
def test_rates_at_the_floor_or_ceiling_are_not_assessable(a, b, gates):
    spread = np.tile([-0.005, 0.005], (3, 10)) + np.array([[0.0], [0.002], [-0.002]])
    result = compare(made({("A", "A"): a + spread, ("B", "B"): b - spread}), {"m": RATE}, "m")
    assert gate_names(result) == gates


def finish_gated(cells, ends, **more):
    infos = {**M, "finish": Metric.declared("finish", "higher", (0.0, 1.0), "share of answers", "form")}
    result = compare(made(cells, **more) + made(ends, "finish"), infos, "m")
    assert all(not c.gates for c in result.comparisons if c.metric == "finish")
    return {c.question: c for c in result.comparisons if c.metric == "m"}


def test_a_low_finish_rate_gates_content_in_matched_and_warns_elsewhere():
    tables = {(t, p): normal(3, 12, 0.5, rng=i) for i, (t, p) in enumerate(("AA", "BB", "AB"))}
    ends = {("A", "A"): np.ones((3, 12)), ("B", "B"): np.full((3, 12), 0.4), ("A", "B"): np.zeros((3, 12))}
    found = finish_gated(tables, ends)
    assert [g["name"] for g in found["matched"].gates] == ["finish_rate"]
    assert found["mismatch"].gates == ()
    assert "A@B end by themselves" in found["mismatch"].detail["warnings"][0]


def test_scores_averaged_over_seeds_are_gated_by_the_finish_rate_of_all_seeds():
    tables = {("A", "A"): normal(1, 12, 0.5, rng=1), ("B", "B"): normal(1, 12, 0.4, rng=2)}
    ends = {("A", "A"): np.ones((3, 12)), ("B", "B"): np.full((3, 12), 0.4)}
    assert [g["name"] for g in finish_gated(tables, ends, seeds=[None])["matched"].gates] == ["finish_rate"]


@pytest.mark.parametrize(("subject", "questions"), [
    ("A.s1", {"matched", "tuned_vs_base", "tuned_vs_best_base", "mismatch"}),
    ("A.s7", {"matched", "tuned_vs_base", "tuned_vs_best_base", "mismatch"}),  # an arm that went wrong: no scores
    ("base@A", {"tuned_vs_base", "tuned_vs_best_base"}),
    ("A.s0@B", {"mismatch"}),
    ("B|A", {"matched", "mismatch"}),
    ("B", {"matched", "mismatch"}),
])  # fmt: skip
def test_a_failed_gate_holds_for_the_comparisons_its_subject_has_part_in(subject, questions):
    tables = {
        ("A", "A"): normal(3, 30, rng=1),
        ("B", "B"): normal(3, 30, rng=2),
        ("A", "B"): normal(3, 30, rng=3),
        (None, "A"): normal(1, 30, rng=4),
    }
    gates = [Gate("dead_adapter", subject, False, "told"), Gate("loss", "A", True)]
    result = compare(made(tables), M, "m", gates=gates)
    hit = {c.question for c in result.comparisons if c.verdict == "NOT_ASSESSABLE" and c.treatment["trained_on"] == "A"}
    assert hit == questions


def test_an_interval_that_the_sign_flips_deny_is_not_assessable():
    d = np.r_[np.full(6, 2.0), np.full(2, -1.0), np.full(4, 0.0)]
    tables = {("A", "A"): np.tile(d, (1, 1)), ("B", "B"): np.zeros((1, 12))}
    c = one(compare(made(tables), M, "m"), "matched")
    assert c.p < 0.05 <= c.detail["p_permutation"]
    assert [g["name"] for g in c.gates] == ["permutation_disagrees"]
    assert c.verdict == "NOT_ASSESSABLE"


@pytest.mark.parametrize(("clusters", "flipped"), [(9, False), (10, True)])
def test_signs_are_flipped_from_ten_clusters_on(clusters, flipped):
    tables = {("A", "A"): normal(3, clusters, rng=1), ("B", "B"): normal(3, clusters, rng=2)}
    assert (one(compare(made(tables), M, "m"), "matched").detail["p_permutation"] is not None) == flipped


@pytest.mark.parametrize("name", REASONS["en"])
def test_a_gate_has_a_reason_and_names_in_both(name):
    english, japanese = (REASONS[language][name] for language in ("en", "ja"))
    numbers = [
        sorted(field[1:3] for field in string.Formatter().parse(text) if field[1]) for text in (english, japanese)
    ]
    assert numbers[0] == numbers[1]
    assert JAPANESE.search(japanese)
    assert GATES_JA[name]
    assert all(GATES_SHORT[name])


def test_a_sentence_gives_the_reason_in_its_own_language():
    level = np.full((3, 12), 0.01)
    result = compare(made({("A", "A"): level, ("B", "B"): level}), {"m": RATE}, "m")
    (gate,) = result.comparisons[0].gates
    assert gate["detail"] == "rates of 1.0% and 1.0% leave no room for a difference"
    assert gate["detail_ja"] == "率が 1.0% と 1.0% で、差が現れる余地がありません"
    assert f"floor: {gate['detail']}" in result.verdict["sentence_en"]
    assert GATES_JA["floor"] in result.verdict["sentence_ja"]
    assert "判定できません" in result.verdict["sentence_ja"]


@pytest.mark.parametrize(
    ("gate", "english", "japanese"),
    [
        (Gate.of("live_adapter", "A.s1", False, Both("||B|| = 0", "||B|| = 0 です")), "||B|| = 0", "||B|| = 0 です"),
        (Gate("live_adapter", "A.s1", False, "an earlier run's"), "an earlier run's", "an earlier run's"),
    ],
)
def test_a_gate_that_was_handed_in_keeps_its_reason_and_an_old_one_its_english(gate, english, japanese):
    tables = {("A", "A"): normal(3, 12, 0.5, rng=1), ("B", "B"): normal(3, 12, 0.4, rng=2)}
    verdict = compare(made(tables), {"m": NUMBER}, "m", gates=[gate]).verdict
    assert f"live_adapter A.s1: {english})" in verdict["sentence_en"]
    assert f"live_adapter A.s1：{japanese}）" in verdict["sentence_ja"]
