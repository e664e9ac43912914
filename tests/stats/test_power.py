"""What an experiment can find, against simulated experiments and components put in by hand."""

import numpy as np
import pytest
from made_scores import made, normal

from iikata.core.errors import IikataError
from iikata.stats import Components, power, variance_components
from iikata.stats.interval import estimate

PARTS = Components(seed_template=0.03, probe_template=0.1, sample=0.4, residual=0.02, seed=0.05, probe=0.2)


def simulated(parts, T, S, C, K, rng=0):
    """Return scores [template, S, C, K] with these components."""
    draw = np.random.default_rng(rng).normal
    y = draw(0, parts.seed, (1, S, 1, 1)) + draw(0, parts.seed_template, (T, S, 1, 1))
    y = y + draw(0, parts.probe, (1, 1, C, 1)) + draw(0, parts.probe_template, (T, 1, C, 1))
    return y + draw(0, parts.residual, (T, S, C, 1)) + draw(0, parts.sample, (T, S, C, K))


def test_the_detectable_difference_is_found_in_four_of_five_experiments():
    told = power(PARTS, seeds=5, probes=40, samples=10)
    y = np.stack([simulated(PARTS, 2, 5, 40, 10, rng=i).mean(axis=-1) for i in range(2000)])
    d = y[:, 0] - y[:, 1]
    found = estimate(d + told.detectable, 0.05)
    assert np.mean(found.p < 0.05) == pytest.approx(0.8, abs=0.04)
    within = estimate(d, 0.05)
    shown = np.abs(within.difference) + within.half_90 < told.equivalent_margin
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("parts", "best"), [
    (Components(seed_template=0.2, probe_template=0.01, sample=0.01), "seeds"),
    (Components(seed_template=0.0, probe_template=0.5, sample=0.01), "probes"),
])  # fmt: skip
def test_compute_goes_where_the_variance_is(parts, best):
    told = power(parts, seeds=4, probes=30, samples=5)
    assert told.buys_most == best
    assert told.more[best] < told.detectable


def test_more_of_anything_and_fewer_pairs_detect_less():
    base = power(PARTS, 4, 30, 10).detectable
    assert power(PARTS, 5, 30, 10).detectable < base
    assert power(PARTS, 4, 40, 10).detectable < base
    assert power(PARTS, 4, 30, 20).detectable < base
    assert power(PARTS, 4, 30, 10, templates=4).detectable > base


def test_a_finished_run_gives_its_components_back():
    y = simulated(PARTS, 2, 60, 150, 4, rng=1)
    found = variance_components(made({("A", "A"): y[0], ("B", "B"): y[1]}), "m")
    for name in ("seed_template", "probe_template", "sample", "seed", "probe"):
        assert getattr(found, name) == pytest.approx(getattr(PARTS, name), rel=0.25), name


def test_what_samples_alone_make_is_no_part_of_the_residual():
    parts = Components(seed_template=0.3, probe_template=0.3, sample=0.8, residual=0.2)
    y = simulated(parts, 2, 60, 150, 4, rng=1)
    found = variance_components(made({("A", "A"): y[0], ("B", "B"): y[1]}), "m")
    assert found.residual == pytest.approx(0.2, rel=0.25)


def test_one_template_takes_all_its_spread_for_interaction():
    y = simulated(PARTS, 1, 60, 150, 4, rng=2)
    found = variance_components(made({("A", "A"): y[0]}), "m")
    assert found.seed_template == pytest.approx(np.hypot(PARTS.seed, PARTS.seed_template), rel=0.25)
    assert found.seed == 0


def test_a_pilot_without_repetition_and_designs_of_nothing_are_refused():
    with pytest.raises(IikataError, match="two seeds"):
        variance_components(made({("A", "A"): normal(1, 12)}), "m")
    with pytest.raises(IikataError, match='no score of metric "n"'):
        variance_components(made({("A", "A"): normal(3, 12)}), "n")
    with pytest.raises(IikataError, match="seeds must be at least 1"):
        power(PARTS, 0, 30, 10)
    with pytest.raises(IikataError, match="train_share"):
        power(PARTS, 3, 30, 10, train_share=1.0)


def test_a_design_too_small_for_an_interval_detects_nothing():
    assert np.isnan(power(PARTS, 1, 1, 10).detectable)
