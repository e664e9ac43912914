"""Intervals against scipy, statsmodels and tables worked out by hand."""

import numpy as np
import pytest
from made_scores import normal
from scipy import stats

from iikata.stats.interval import estimate, forms, mean_squares, scope_of
from iikata.stats.permutation import _signs, sign_flip_p

# Three seeds (rows) x four clusters, worked out by hand: row means 2, 3, 7; column means 3, 3, 4, 6; mean 4.
# SS_seed = 4 x (4 + 1 + 9) = 56 on 2 df; SS_cluster = 3 x (1 + 1 + 0 + 4) = 18 on 3 df;.
HAND = np.array([[1.0, 1.0, 2.0, 4.0], [2.0, 1.0, 5.0, 4.0], [6.0, 7.0, 5.0, 10.0]])


def test_mean_squares_are_those_of_a_table_worked_out_by_hand():
    ms = mean_squares(HAND)
    assert ms.seed == pytest.approx(56 / 2)
    assert ms.cluster == pytest.approx(18 / 3)
    total = ((HAND - 4) ** 2).sum()
    assert ms.residual == pytest.approx((total - 56 - 18) / 6)


def test_components_are_those_of_statsmodels_anova():
    import pandas as pd
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    d = normal(5, 20, rng=3)
    s, c = np.indices(d.shape)
    frame = pd.DataFrame({"d": d.ravel(), "s": s.ravel(), "c": c.ravel()})
    table = anova_lm(smf.ols("d ~ C(s) + C(c)", frame).fit())
    ms = mean_squares(d)
    assert [ms.seed, ms.cluster, ms.residual] == pytest.approx(list(table["mean_sq"]))


def test_two_way_standard_error_is_that_of_statsmodels_mixed_model():
    """On a balanced table with positive components, REML and the mean squares agree (Searle et al. 1992, 4.8)."""
    import pandas as pd
    import statsmodels.formula.api as smf

    d = 10 * normal(6, 30, mean=0.2, rng=1)  # variances below 0.01 make statsmodels warn
    s, c = np.indices(d.shape)
    frame = pd.DataFrame({"d": d.ravel(), "s": s.ravel(), "c": c.ravel(), "one": 1})
    parts = {"s": "0 + C(s)", "c": "0 + C(c)"}
    fitted = smf.mixedlm("d ~ 1", frame, groups="one", vc_formula=parts, re_formula="0").fit(reml=True)
    two_way, _ = forms(mean_squares(d))
    assert fitted.params["Intercept"] == pytest.approx(d.mean())
    assert two_way[0] == pytest.approx(fitted.bse["Intercept"], rel=2e-3)


@pytest.mark.parametrize("S", [1, 2])
def test_few_seeds_give_the_t_test_over_clusters(S):
    d = normal(S, 25, mean=0.03, rng=4)
    found = estimate(d, 0.05)
    oracle = stats.ttest_1samp(d.mean(axis=0), 0)
    low, high = oracle.confidence_interval(0.95)
    assert found.p == pytest.approx(oracle.pvalue)
    assert [found.difference - found.half, found.difference + found.half] == pytest.approx([low, high])
    low, high = oracle.confidence_interval(0.90)
    assert found.half_90 == pytest.approx((high - low) / 2)


def test_few_clusters_give_the_t_test_over_seeds():
    d = normal(5, 4, mean=0.1, rng=5)
    found = estimate(d, 0.05)
    assert found.p == pytest.approx(stats.ttest_1samp(d.mean(axis=1), 0).pvalue)


@pytest.mark.parametrize("rng", range(20))
def test_recipe_interval_is_the_widest_and_p_the_largest_of_three(rng):
    d = normal(4, 15, mean=0.05, seed_sd=[0, 0.02, 0.1][rng % 3], rng=rng)
    found, ms = estimate(d, 0.05), mean_squares(d)
    over_seeds, over_clusters = (stats.ttest_1samp(d.mean(axis=a), 0) for a in (1, 0))
    halves, ps = [], []
    for oracle in (over_seeds, over_clusters):
        low, high = oracle.confidence_interval(0.95)
        halves.append((high - low) / 2)
        ps.append(oracle.pvalue)
    total = ms.seed + ms.cluster - ms.residual
    if ms.seed > ms.residual and ms.cluster > ms.residual:
        df = total**2 / (ms.seed**2 / 3 + ms.cluster**2 / 14 + ms.residual**2 / 42)
        se = np.sqrt(total / 60)
        halves.append(stats.t.ppf(0.975, df) * se)
        ps.append(2 * stats.t.sf(abs(d.mean()) / se, df))
    assert found.half == pytest.approx(max(halves))
    assert found.p == pytest.approx(max(ps))


def test_p_is_below_alpha_exactly_where_the_interval_excludes_zero():
    d = np.stack([normal(4, 12, mean=0.1, rng=i) for i in range(200)])
    found = estimate(d, 0.05)
    assert ((found.p < 0.05) == (np.abs(found.difference) > found.half)).all()
    assert 20 < (found.p < 0.05).sum() < 180


def test_many_tables_at_once_are_estimated_as_one_by_one():
    d = np.stack([normal(3, 11, rng=i) for i in range(5)])
    together, alone = estimate(d, 0.1, 1.0), [estimate(one, 0.1, 1.0) for one in d]
    for name in ("difference", "half", "half_90", "p", "mde"):
        assert list(getattr(together, name)) == pytest.approx([float(getattr(one, name)) for one in alone])


@pytest.mark.parametrize(
    ("S", "C", "scope"),
    [(3, 10, "recipe"), (2, 10, "these_adapters"), (3, 9, "these_probes"), (2, 9, "these_adapters")],
)
def test_scope_follows_from_the_numbers_of_seeds_and_clusters(S, C, scope):
    assert scope_of(S, C) == scope


@pytest.mark.parametrize("d", [0.0, 0.1, 1 / 3])
def test_identical_clusters_of_a_bounded_metric_never_give_zero_width(d):
    found = estimate(np.full((5, 12), d), 0.05, span=1.0)
    assert found.half == pytest.approx(1 - 0.05 ** (1 / 12))
    assert found.half_90 == pytest.approx(1 - 0.10 ** (1 / 12))
    assert found.p == pytest.approx((1 - d) ** 12)
    assert found.identical


def test_identical_clusters_keep_the_wider_interval_of_differing_seeds():
    d = np.repeat([[0.0], [0.3], [0.6]], 12, axis=1)
    by_seeds = stats.ttest_1samp([0.0, 0.3, 0.6], 0).confidence_interval(0.95)
    assert estimate(d, 0.05, span=1.0).half == pytest.approx((by_seeds.high - by_seeds.low) / 2)


def test_constant_differences_of_an_unbounded_metric_give_no_interval():
    found = estimate(np.full((5, 12), 0.1), 0.05)
    assert np.isnan(found.half)
    assert np.isnan(found.p)


def test_minimum_detectable_effect_is_found_in_four_of_five_experiments():
    d = np.random.default_rng(0).normal(0, 0.1, (4000, 1, 25))
    size = np.median(estimate(d, 0.05).mde)
    assert np.mean(estimate(d + size, 0.05).p < 0.05) == pytest.approx(0.8, abs=0.02)


def test_few_clusters_flip_all_their_signs():
    means = np.array([0.5, 0.1, 0.3, 0.2])
    assert sign_flip_p(means) == pytest.approx(2 / 16)  # only all plus and all minus are as extreme
    means = np.random.default_rng(1).normal(0.05, 0.1, 11)
    oracle = stats.permutation_test((means,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(means) == pytest.approx(oracle.pvalue)


def test_many_clusters_flip_signs_at_random_and_always_alike():
    means = np.random.default_rng(2).normal(0.03, 0.1, 40)
    p = sign_flip_p(means)
    _signs.cache_clear()  # as in another process
    assert p == sign_flip_p(means)
    assert p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, abs=0.02)
    assert sign_flip_p(np.ones(40)) == 1 / 10000


def test_flipped_zeros_are_all_as_extreme():
    assert sign_flip_p(np.zeros(12)) == 1
    assert sign_flip_p(np.zeros(50)) == 1
