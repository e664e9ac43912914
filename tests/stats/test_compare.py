"""The five questions, the pairing and what is left out, on small tables worked out by hand."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from made_scores import NUMBER, RATE, made, normal, one
from scipy import stats

from iikata.core.errors import IikataError
from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.interval import MeanSquares, estimate
from iikata.stats.pairing import choosing_third
from iikata.stats.verdict import lora_needed, needed, template_matters

M = {"m": NUMBER}


def test_matched_is_the_difference_of_cells_trained_and_prompted_alike():
    a, b = normal(3, 12, 0.5, rng=1), normal(3, 12, 0.3, rng=2)
    c = one(compare(made({("A", "A"): a, ("B", "B"): b}), M, "m"), "matched")
    assert c.difference == pytest.approx((a - b).mean())
    assert (c.treatment["trained_on"], c.control["trained_on"]) == ("A", "B")
    assert (c.n_seeds, c.n_probes, c.n_clusters, c.n_samples, c.scope, c.level) == (3, 12, 12, 1, "recipe", 0.95)


def test_every_pair_of_templates_is_matched_once_and_adjusted_by_holm():
    from statsmodels.stats.multitest import multipletests

    tables = {(t, t): normal(4, 20, 0.5 + 0.06 * i, rng=i) for i, t in enumerate("ABC")}
    tables |= {("A", "B"): normal(4, 20, 0.5, rng=7), (None, "A"): normal(1, 20, 0.5, rng=8)}  # families of their own
    matched = [c for c in compare(made(tables), M, "m").comparisons if c.question == "matched"]
    assert [(c.treatment["trained_on"], c.control["trained_on"]) for c in matched] == [
        ("A", "B"),
        ("A", "C"),
        ("B", "C"),
    ]
    oracle = multipletests([c.p for c in matched], method="holm")[1]
    assert [c.p_holm for c in matched] == pytest.approx(list(oracle))


def test_other_metrics_are_exploratory_and_adjusted_by_benjamini_hochberg():
    from statsmodels.stats.multitest import multipletests

    scores = [
        s
        for i, m in enumerate("mno")
        for s in made({(t, t): normal(4, 20, 0.02 * i * j, rng=9 * i + j) for j, t in enumerate("ABC")}, m)
    ]
    matched = [c for c in compare(scores, M, "m").comparisons if c.question == "matched"]
    others = [c for c in matched if c.metric != "m"]
    assert [c.detail["exploratory"] for c in matched] == [False] * 3 + [True] * 6
    assert [c.p_holm for c in others] == pytest.approx(list(multipletests([c.p for c in others], method="fdr_bh")[1]))


def test_samples_are_averaged_before_anything_is_estimated():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 12, 20))
    many, few = (
        compare(made({("A", "A"): x, ("B", "B"): y}), M, "m") for x, y in ((a, b), (a.mean(axis=2), b.mean(axis=2)))
    )
    assert one(many, "matched").interval == pytest.approx(one(few, "matched").interval)
    assert one(many, "matched").n_samples == 20


def test_probes_of_a_cluster_count_as_one():
    a, b = normal(3, 24, rng=1), normal(3, 24, 0.1, rng=2)
    clusters = [f"c{i // 2:02d}" for i in range(24)]
    c = one(compare(made({("A", "A"): a, ("B", "B"): b}, clusters=clusters), M, "m"), "matched")
    means = (a - b).reshape(3, 12, 2).mean(axis=2)
    same = one(compare(made({("A", "A"): means, ("B", "B"): 0 * means}), M, "m"), "matched")
    assert (c.n_probes, c.n_clusters) == (24, 12)
    assert c.interval == pytest.approx(same.interval)


def test_the_base_is_repeated_for_every_seed():
    a, base = normal(3, 12, 0.5, rng=1), normal(1, 12, 0.2, rng=2)
    c = one(compare(made({("A", "A"): a, (None, "A"): base}), M, "m"), "tuned_vs_base")
    assert c.difference == pytest.approx((a - base).mean())
    assert c.p == pytest.approx(max(c.p, stats.ttest_1samp((a - base).mean(axis=0), 0).pvalue))
    assert (c.n_seeds, c.control["trained_on"], c.control["seeds"]) == (3, None, [])


def test_mismatch_is_the_foreign_prompt_less_the_own_one():
    own, foreign = normal(3, 12, 0.9, rng=1), normal(3, 12, 0.1, rng=2)
    c = one(compare(made({("A", "A"): own, ("A", "B"): foreign}), M, "m"), "mismatch")
    assert c.difference == pytest.approx((foreign - own).mean())
    assert (c.treatment["prompted_with"], c.control["prompted_with"]) == ("B", "A")


def test_best_base_is_chosen_on_a_third_and_tested_on_the_others():
    C = 30
    choosing = choosing_third([f"p{i:03d}" for i in range(C)])
    assert choosing.sum() == 10
    good_where_chosen = np.where(choosing, 0.9, 0.1)  # the best on the choosing third, the worst on the rest
    steady = np.full(C, 0.5)
    tuned = normal(3, C, 0.6, rng=1)
    scores = made({("A", "A"): tuned, (None, "A"): steady, (None, "other"): good_where_chosen})
    c = one(compare(scores, M, "m"), "tuned_vs_best_base")
    assert c.control["prompted_with"] == "other"
    assert c.difference == pytest.approx(tuned[:, ~choosing].mean() - 0.1)
    assert c.n_clusters == 20
    assert c.detail["base_on_choosing"] == pytest.approx({"A": 0.5, "other": 0.9})


def test_the_choosing_third_depends_on_names_and_not_on_their_order():
    names = [f"p{i}" for i in range(60)]
    chosen = {n for n, c in zip(names, choosing_third(names), strict=True) if c}
    assert chosen == {n for n, c in zip(names[::-1], choosing_third(names[::-1]), strict=True) if c}


def test_lower_is_better_turns_the_choice_and_the_words():
    info = {"m": Metric.declared("m", "lower", None, "bits per byte", "likelihood")}
    scores = made({("A", "A"): normal(3, 30, 0.5, rng=1), (None, "A"): np.full(30, 0.9), (None, "B"): np.full(30, 0.8)})
    result = compare(scores, info, "m", {"m": 0.05})
    assert one(result, "tuned_vs_best_base").control["prompted_with"] == "B"
    assert result.verdict["lora_needed"] == "YES"


def test_noise_floor_is_root_two_times_the_sd_of_seed_means_with_a_chi_square_interval():
    a = normal(5, 12, rng=1)
    c = one(compare(made({("A", "A"): a}), M, "m"), "noise_floor")
    sd = a.mean(axis=1).std(ddof=1)
    low, high = stats.chi2.ppf([0.975, 0.025], 4)
    assert c.difference == pytest.approx(math.sqrt(2) * sd)
    assert c.interval == pytest.approx(
        [math.sqrt(2) * sd * math.sqrt(4 / low), math.sqrt(2) * sd * math.sqrt(4 / high)]
    )
    low, high = stats.chi2.ppf([0.95, 0.05], 4)
    assert c.interval_90 == pytest.approx([math.sqrt(8 / low) * sd, math.sqrt(8 / high) * sd])
    assert (c.p, c.p_holm, c.verdict) == (None, None, None)


def test_the_noise_floor_stands_beside_every_effect():
    a, b = normal(5, 12, rng=1), normal(5, 12, rng=2, seed_sd=0.2)
    result = compare(made({("A", "A"): a, ("B", "B"): b, (None, "A"): normal(1, 12), ("A", "B"): b - 1}), M, "m")
    floor = {c.treatment["trained_on"]: c.difference for c in result.comparisons if c.question == "noise_floor"}
    effects = [c for c in result.comparisons if c.treatment["trained_on"] == "A" and c.question != "noise_floor"]
    beside = {c.question: c.detail["noise_floor"] for c in effects}
    assert beside["matched"] == pytest.approx(math.hypot(floor["A"], floor["B"]) / math.sqrt(2))
    assert beside["tuned_vs_base"] == beside["mismatch"] == pytest.approx(floor["A"])


def test_a_template_that_is_never_prompted_alike_is_told():
    result = compare(made({("A", "B"): normal(2, 12)}), M, "m")
    assert result.left_out["cells_without_scores"] == {"m": ["A.s0@A", "A.s1@A", "base@A"]}
    assert result.comparisons == []


def test_only_common_seeds_and_complete_clusters_are_paired_and_the_rest_is_counted():
    a, b = normal(4, 14, rng=1), normal(4, 14, 0.2, rng=2)
    clusters = [f"c{i // 2}" if i < 4 else f"c{i}" for i in range(14)]  # two clusters of two probes, ten of one
    scores = made({("A", "A"): a, ("B", "B"): b}, clusters=clusters)
    gone = {("B", 3): range(14), ("B", 0): [0], ("A", 2): [5]}
    nan = {("A", 1): [6]}
    kept = [
        replace(s, value=math.nan) if int(s.probe[1:]) in nan.get((s.trained_on, s.seed), ()) else s
        for s in scores
        if int(s.probe[1:]) not in gone.get((s.trained_on, s.seed), ())
    ]
    result = compare(kept, M, "m")
    c = one(result, "matched")
    used = [i for i in range(14) if i not in (0, 1, 5, 6)]
    means = {}
    for i in used:
        means.setdefault(clusters[i], []).append((a - b)[:3, i].mean())
    assert c.difference == pytest.approx(np.mean([np.mean(v) for v in means.values()]))
    assert (c.n_seeds, c.n_probes, c.n_clusters) == (3, 10, 9)
    assert c.detail["left_out"] == {
        "seeds": ["3"], "clusters": 3, "probes": 4, "probes_without_lines": 2, "probes_without_numbers": 1,
    }  # fmt: skip
    assert result.left_out["scores_without_number"] == {"m": 1}
    assert result.left_out["cells_without_scores"] == {"m": ["B.s3@B", "base@A", "base@B"]}


def test_a_probe_that_neither_side_was_asked_costs_its_cluster_nothing():
    scores = made({("A", "A"): normal(3, 12, rng=1), ("B", "B"): normal(3, 12, rng=2)})
    others = [replace(s, probe="p900", cluster="p000") for s in made({(None, "A"): normal(1, 1)})]
    c = one(compare(scores + others, M, "m"), "matched")
    assert (c.n_clusters, c.detail["left_out"]["clusters"]) == (12, 0)


HALF, NONE = np.full((3, 12), 0.5), np.full((3, 12), math.nan)


@pytest.mark.parametrize(
    ("tables", "warning", "verdict"),
    [
        ((normal(3, 12),), "two templates trained and prompted alike are needed to compare; there is A", None),
        ((HALF, HALF), "every score is 0.5", "INCONCLUSIVE"),
        ((NONE, NONE), "none of its 72 scores is a number", "NOT_ASSESSABLE"),
    ],
)
def test_what_leaves_nothing_to_compare_is_told(tables, warning, verdict):
    result = compare(made({(t, t): table for t, table in zip("AB", tables, strict=False)}), M, "m", {"m": 0.1})
    assert f"m: {warning}" in result.warnings
    found = [(c.verdict, c.interval) for c in result.comparisons if c.question == "matched"]
    assert found == ([(verdict, None)] if verdict else [])
    assert result.verdict["template_matters"] == (verdict or "NOT_ASSESSABLE")


def test_one_seed_speaks_about_these_adapters_only():
    result = compare(made({("A", "A"): normal(1, 40, 0.9, rng=1), ("B", "B"): normal(1, 40, 0.1, rng=2)}), M, "m")
    assert one(result, "matched").scope == "these_adapters"
    assert any("one training seed" in w for w in result.warnings)


def test_enough_identical_clusters_of_a_rate_are_equivalent():
    """1 - 0.1^(1/C) < 0.10 needs 22 clusters."""
    for C, verdict in ((21, "INCONCLUSIVE"), (22, "EQUIVALENT")):
        tables = {("A", "A"): np.full((3, C), 0.5), ("B", "B"): np.full((3, C), 0.5)}
        c = one(compare(made(tables), {"m": RATE}, "m", {"m": 0.1}), "matched")
        assert c.verdict == verdict
    assert c.needed is None


def test_seeds_without_overlap_are_not_assessable():
    scores = made({("A", "A"): normal(3, 12)}) + made({("B", "B"): normal(3, 12)}, seeds=[7, 8, 9])
    c = one(compare(scores, M, "m"), "matched")
    assert (c.verdict, c.n_seeds) == ("NOT_ASSESSABLE", 0)
    assert c.detail["left_out"]["seeds"] == ["0", "1", "2", "7", "8", "9"]


def test_an_undeclared_metric_is_told_with_what_was_assumed():
    scores = made({(t, t): np.clip(normal(3, 12, 0.5, rng=i), 0, 1) for i, t in enumerate("AB")}, "theirs")
    result = compare(scores, {}, "theirs")
    assert "metric theirs is not declared; assumed: higher is better, bounds 0 and 1" in result.warnings[0]
    assert compare(scores, {}, "theirs", better={"theirs": "lower"}).comparisons[0].detail["better"] == "lower"


def bounded(better, high):
    return {"m": Metric.declared("m", better, high and (0.0, high), "", "form")}


@pytest.mark.parametrize(("asked", "told"), [
    ({"primary": "n"}, 'metric "n" is unknown'),
    ({"primary": "n", "metrics": {"n": NUMBER}}, 'no score of metric "n"'),
    ({"primary": "m", "margins": {"mm": 1.0}}, 'did you mean "m"'),
    ({"primary": "m", "margins": {"m": 0.0}}, "must be above 0"),
    ({"primary": "m", "margins": {"m": math.nan}}, "must be above 0"),
    ({"primary": "m", "alpha": 0.7}, "alpha must lie between"),
    ({"primary": "m", "metrics": bounded("none", None)}, "no better or worse"),
    ({"primary": "m", "metrics": bounded("higher", 0.1)}, "outside its bounds"),
    ({"primary": "m", "metrics": bounded("higher", 1.0), "margins": {"m": 10}}, "covers all of its range"),
])  # fmt: skip
def test_wrong_questions_are_refused(asked, told):
    scores = made({(t, t): np.full((3, 12), 0.5) for t in "AB"})
    with pytest.raises(IikataError, match=told):
        compare(scores, **{"metrics": M, **asked})


def test_a_margin_of_a_declared_metric_without_scores_is_no_fault():
    scores = made({(t, t): normal(3, 12, rng=i) for i, t in enumerate("AB")})
    assert compare(scores, {**M, "n": NUMBER}, "m", {"m": 0.1, "n": 0.1}).settings["margins"] == {"m": 0.1, "n": 0.1}


def test_a_metric_without_direction_decides_nothing():
    scores = made({(t, t): normal(3, 12, 0.5, rng=1) for t in "AB"})
    long = made({("A", "A"): normal(3, 12, 90), ("B", "B"): normal(3, 12, 10), (None, "A"): normal(1, 12, 5)}, "length")
    result = compare(scores + long, {**M, "length": Metric.declared("length", "none", None, "characters", "form")}, "m")
    assert result.verdict["template_matters"] == "INCONCLUSIVE"
    assert not [c for c in result.comparisons if c.metric == "length" and c.question == "tuned_vs_best_base"]


def test_the_result_is_plain_json_without_nan_and_always_the_same():
    tables = {("A", "A"): normal(3, 14, rng=1), ("B", "B"): normal(3, 14, rng=2), (None, "A"): normal(1, 14, rng=4)}
    first, second = (json.dumps(compare(made(tables), M, "m", {"m": 0.1}).to_json(), allow_nan=False) for _ in range(2))
    assert first == second
    told = json.loads(first)
    assert set(told["comparisons"][0]) >= {
        "question", "treatment", "control", "metric", "difference", "interval", "level", "interval_90", "p", "p_holm",
        "verdict", "beyond_margin", "scope", "n_seeds", "n_probes", "n_clusters", "n_samples", "mde", "needed", "gates",
    }  # fmt: skip
    assert set(told["verdict"]) >= {"template_matters", "lora_needed", "sentence_en", "sentence_ja"}


def test_needed_seeds_and_probes_do_settle_it():
    """With the true components, experiments of the size that is asked for find the margin in four of five cases."""
    seed, cluster, rest = 0.05**2, 0.1**2, 0.1**2
    S, C = 3, 10
    squares = MeanSquares(*map(np.asarray, (rest + C * seed, rest + S * cluster, rest)), S=S, C=C)
    size = needed(squares, 0.1, 0.05, equivalence=False)
    shape = size["seeds"], size["clusters"]
    draw = np.random.default_rng(0).normal
    d = draw(0.1, 0.05, (2000, shape[0], 1)) + draw(0, 0.1, (2000, 1, shape[1])) + draw(0, 0.1, (2000, *shape))
    assert np.mean(estimate(d, 0.05).p < 0.05) == pytest.approx(0.8, abs=0.05)


def test_order_of_the_lines_changes_nothing_but_signs():
    scores = made({("A", "A"): normal(3, 14, rng=1), ("B", "B"): normal(3, 14, rng=2)})
    shuffled = [scores[i] for i in np.random.default_rng(0).permutation(len(scores))]
    first, again = (one(compare(s, M, "m"), "matched") for s in (scores, shuffled))
    assert abs(again.difference) == pytest.approx(abs(first.difference))
    assert again.p == pytest.approx(first.p)


def test_summaries_follow_the_order_of_the_rules():
    order = ["MATTERS", "NOT_ASSESSABLE", "INCONCLUSIVE", "SMALL", "EQUIVALENT"]
    for stronger, weaker in pairwise(order):
        assert template_matters([weaker, stronger, "EQUIVALENT"]) == stronger
    assert template_matters([]) == "NOT_ASSESSABLE"
    assert [lora_needed(v, True) for v in order] == ["YES", "NOT_ASSESSABLE", "INCONCLUSIVE", "SMALL", "NO"]
    assert lora_needed("MATTERS", False) == "HARMED"
