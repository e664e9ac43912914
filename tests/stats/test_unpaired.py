"""Adapters from elsewhere have no pairs: the forms are those of Welch's and Student's tests, whatever the order."""

import numpy as np
import pytest
from scipy import stats

from iikata.core.errors import IikataError
from iikata.core.records import ELSEWHERE, Score, Variant
from iikata.metrics import get
from iikata.stats import compare
from iikata.stats.factors import design_of
from iikata.stats.interval import estimate, scope_of
from iikata.stats.unpaired import estimate_unpaired, forms, mean_squares

NLL = {"nll": get("nll")}


def sides(S_A, S_B, C, seed_sd=0.05, shift=0.0, rng=None):
    rng = rng or np.random.default_rng(S_A * 100 + S_B * 10 + C)
    cluster = 0.03 * rng.standard_normal((2, 1, C))
    one, two = (
        seed_sd * rng.standard_normal((S, 1)) + 0.03 * rng.standard_normal((S, C)) + cluster[i]
        for i, S in enumerate((S_A, S_B))
    )
    return one + shift, two


def form_values(one, two):
    se, df = forms([mean_squares(one), mean_squares(two)], one.mean(axis=0) - two.mean(axis=0))
    return se, df


@pytest.mark.parametrize(("S_A", "S_B"), [(3, 3), (3, 8), (5, 4)])
def test_the_seed_level_is_welchs_test_on_the_seeds_means_with_the_df_of_the_smaller_side(S_A, S_B):
    one, two = sides(S_A, S_B, 40)
    se, df = form_values(one, two)
    welch = stats.ttest_ind(one.mean(axis=1), two.mean(axis=1), equal_var=False)
    assert (one.mean() - two.mean()) / se[1] == pytest.approx(welch.statistic)
    assert df[1] == min(S_A, S_B) - 1 <= welch.df


def test_the_cluster_level_is_a_paired_test_over_clusters():
    one, two = sides(4, 6, 25)
    se, df = form_values(one, two)
    student = stats.ttest_rel(one.mean(axis=0), two.mean(axis=0))
    assert (one.mean() - two.mean()) / se[2] == pytest.approx(student.statistic)
    assert df[2] == 24


def test_the_two_way_form_counts_the_residuals_once_and_the_widest_decides():
    one, two = sides(5, 5, 30)
    se, df = form_values(one, two)
    rest = sum(mean_squares(side).residual / (5 * 30) for side in (one, two))
    assert se[0] ** 2 == pytest.approx(se[1] ** 2 + se[2] ** 2 - rest)
    assert df[0] <= 4
    found = estimate_unpaired(one, two, 0.05)
    assert found.half == pytest.approx(max(s * stats.t.ppf(0.975, d) for s, d in zip(se, df, strict=True)))
    assert found.difference == pytest.approx(one.mean() - two.mean())
    assert (found.squares.S, found.squares.C) == (5, 30)


def test_no_order_of_the_adapters_changes_anything():
    one, two = sides(4, 4, 30)
    found = [estimate_unpaired(one, two[order], 0.05) for order in ([0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2])]
    assert len({(float(f.difference).hex()[:12], round(float(f.p), 12)) for f in found}) == 1
    paired = {round(float(estimate(one - two[order], 0.05).p), 6) for order in ([0, 1, 2, 3], [3, 1, 0, 2])}
    assert len(paired) == 2, "paired by listing, the order would matter"


@pytest.mark.parametrize(("S_A", "S_B"), [(1, 1), (1, 2), (2, 2)])
def test_with_few_adapters_on_both_sides_the_clusters_alone_speak_and_only_about_these(S_A, S_B):
    one, two = sides(S_A, S_B, 20)
    found = estimate_unpaired(one, two, 0.05)
    student = stats.ttest_rel(one.mean(axis=0), two.mean(axis=0))
    assert scope_of(found.squares.S, found.squares.C) == "these_adapters"
    assert found.p == pytest.approx(student.pvalue)


def test_one_folder_against_several_is_fixed_and_the_others_spread_counts():
    one, two = sides(1, 6, 40, seed_sd=0.2)
    found = estimate_unpaired(one, two, 0.05)
    assert scope_of(found.squares.S, found.squares.C) == "these_adapters"
    spread = two.mean(axis=1).std(ddof=1) / 6**0.5
    assert found.half >= spread * stats.t.ppf(0.975, 5) * 0.999


def test_few_clusters_leave_the_seed_level():
    one, two = sides(4, 5, 6)
    found = estimate_unpaired(one, two, 0.05)
    welch = stats.ttest_ind(one.mean(axis=1), two.mean(axis=1), equal_var=False)
    assert scope_of(found.squares.S, found.squares.C) == "these_probes"
    assert found.half == pytest.approx(abs(found.difference / welch.statistic) * stats.t.ppf(0.975, 3))


def test_false_alarms_stay_below_five_percent_and_a_difference_is_found():
    rng = np.random.default_rng(7)
    draw = rng.standard_normal
    one, two = (0.05 * draw((2000, S, 1)) + 0.07 * draw((2000, 1, 40)) + 0.05 * draw((2000, S, 40)) for S in (3, 5))
    assert np.mean(estimate_unpaired(one, two, 0.05).p < 0.05) < 0.06
    assert np.mean(estimate_unpaired(one + 1, two, 0.05).p < 0.05) > 0.95


def scores(adapters=3, own=3, shift=0.3):
    rng = np.random.default_rng(3)
    base = 2 + rng.standard_normal(20)
    for name, template, count, levels, gain in (
        ("plain", None, own, {}, 0.5),
        ("theirs", "plain", adapters, dict([ELSEWHERE]), 0.5 + shift),
        (None, None, 1, {}, 0),
    ):
        for seed in range(count):
            noise = 0.01 * rng.standard_normal(20) + 0.01 * rng.standard_normal()
            for row, value in enumerate(base - gain + noise):
                cell = (name, seed if name else None, "plain")
                yield Score(*cell, f"r{row}", f"r{row}", 0, "nll", value, "s", template, levels)


def matched(result):
    (one,) = (c for c in result.comparisons if c.question == "matched")
    return one


def test_compare_takes_a_variant_from_elsewhere_unpaired_and_warns_of_its_rows():
    result = compare(scores(adapters=4), NLL, "nll", {"nll": 0.02})
    one = matched(result)
    assert (one.treatment["trained_on"], one.treatment["seeds"]) == ("plain", [0, 1, 2])
    assert (one.control["trained_on"], one.control["seeds"]) == ("theirs", [0, 1, 2, 3])
    assert (one.verdict, one.n_seeds, one.scope, one.detail["paired"]) == ("MATTERS", 3, "recipe", False)
    assert one.difference == pytest.approx(0.3, abs=0.05)
    assert any("on which rows" in warning for warning in one.detail["warnings"])
    assert "may be among them" in result.verdict["sentence_en"]
    against = [c for c in result.comparisons if c.question == "tuned_vs_base"]
    assert ["paired" in c.detail for c in against] == [False, False], "the base is one row for all: nothing to pair"
    warned = {c.treatment["trained_on"]: "unknown_rows" in c.detail["shapes"] for c in against}
    assert warned == {"plain": False, "theirs": True}


def test_seeds_of_the_same_number_are_not_common():
    """The first of theirs is one of no seed 0: taking seeds out of one side leaves the other whole."""
    whole = matched(compare(scores(adapters=5), NLL, "nll"))
    assert whole.detail["left_out"]["seeds"] == []
    assert whole.control["seeds"] == [0, 1, 2, 3, 4]


def test_variants_from_elsewhere_are_compared_as_variants_alone():
    variants = {"a": Variant("a", ("plain",), (ELSEWHERE,)), "b": Variant("b", ("native",), (("train.lr", "1"),))}
    assert design_of(variants, None, None).factor == "variant"
    assert design_of(variants, "variant", None).factor == "variant"
    for factor, others in (("template", None), ("train.lr", "best"), (None, "average")):
        with pytest.raises(IikataError, match="compared as variants"):
            design_of(variants, factor, others)


def test_folders_are_called_adapters_in_both_languages_and_seeds_stay_seeds():
    result = compare([one for one in scores() if one.trained_on != "plain"], NLL, "nll", {"nll": 0.02})
    assert all(c.detail["replicates"] == {"adapters": 3} for c in result.comparisons if c.question == "tuned_vs_base")
    assert "3 adapters" in result.verdict["sentence_en"]
    assert "3 アダプタ" in result.verdict["sentence_ja"]
    assert "seed" not in result.verdict["sentence_en"] + result.verdict["short_en"]
    assert "シード" not in result.verdict["sentence_ja"] + result.verdict["short_ja"]
    both = matched(compare(scores(adapters=4), NLL, "nll", {"nll": 0.02}))
    assert both.detail["replicates"] == {"seeds": 3, "adapters": 4}
    own = compare([one for one in scores() if one.trained_on != "theirs"], NLL, "nll", {"nll": 0.02})
    assert not any("replicates" in c.detail for c in own.comparisons)
    assert "3 seeds" in own.verdict["sentence_en"]
