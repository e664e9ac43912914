"""The untuned model with examples: draws that choose are not tested, and draws are no seeds."""

from dataclasses import replace

import numpy as np
import pytest
from made_scores import made, normal

from iikata.core.errors import IikataError
from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.pairing import choosing_third

LOSS = Metric.declared("m", "lower", None, "bits", "likelihood")
C = 60
THIRD = choosing_third([f"p{p:03d}" for p in range(C)])


def scores(shown=0.6, seeds=4, draws=6, rng=7):
    tuned = {("A", "A"): normal(seeds, C, 0.5, 0.01, 0.1, 1), ("B", "B"): normal(seeds, C, 0.5, 0.01, 0.1, 2)}
    base = {(None, "A"): normal(1, C, 1.0, 0, 0.1, 3), (None, "B"): normal(1, C, 1.0, 0, 0.1, 4)}
    return made(tuned | base) + with_seed(made({("x", "A+4shots"): normal(draws, C, shown, 0.02, 0.1, rng)}))


def with_seed(lines):
    return [replace(line, trained_on=None) for line in lines]


def against_best(lines):
    found = compare(lines, {"m": LOSS}, "m", {"m": 0.05}).comparisons
    return next(c for c in found if c.question == "tuned_vs_best_base" and c.treatment["trained_on"] == "A")


def mean(lines, name, prompt, draws=None):
    """Return the mean on the tested clusters."""
    tested = {f"p{p:03d}" for p in np.flatnonzero(~THIRD)}
    wanted = (name, prompt)
    return np.mean(
        [one.value for one in lines if (one.trained_on, one.prompted_with) == wanted and one.probe in tested
         and (draws is None or one.seed in draws)]
    )  # fmt: skip


def test_the_better_of_template_and_examples_is_chosen_on_draws_that_are_not_tested():
    lines = scores()
    found = against_best(lines)
    assert found.control["prompted_with"] == "A+4shots"
    assert found.difference == pytest.approx(mean(lines, "A", "A") - mean(lines, None, "A+4shots", {3, 4, 5}))
    assert found.n_seeds == 3
    assert against_best(scores(shown=1.2)).control["prompted_with"] in ("A", "B")


def test_which_draw_is_called_which_changes_nothing_of_the_interval():
    lines = scores()
    swap = {3: 5, 5: 3}
    turned = [replace(x, seed=swap.get(x.seed, x.seed)) if x.prompted_with == "A+4shots" else x for x in lines]
    one, other = against_best(lines), against_best(turned)
    assert one.interval == pytest.approx(other.interval)
    assert one.p == pytest.approx(other.p)


def test_choosing_seeds_of_the_variants_take_no_draw_away():
    lines = scores(seeds=6)
    levels = {"train.learning_rate": "1e-4"}
    more = [
        replace(x, trained_on=f"{x.trained_on}2", template=x.trained_on, levels=levels) for x in lines if x.trained_on
    ]
    all_lines = [
        replace(x, template=x.trained_on, levels={"train.learning_rate": "3e-4"}) if x.trained_on else x for x in lines
    ]
    found = compare(
        [*all_lines, *more], {"m": LOSS}, "m", {"m": 0.05}, factor="template", others="best", choosing_seeds=(0, 3)
    ).comparisons
    best = next(c for c in found if c.question == "tuned_vs_best_base")
    assert best.control["mean"] == pytest.approx(mean(lines, None, "A+4shots", {3, 4, 5}))


def test_only_a_base_with_examples_has_a_number():
    lines = with_seed(made({("x", "A"): normal(2, C)}))
    with pytest.raises(IikataError, match=r"has no training seed, saw seed 0.*native\+4shots"):
        compare([*lines, *scores()], {"m": LOSS}, "m")


def test_a_single_draw_chooses_nothing_and_leaves_the_margin_to_the_templates():
    found, without = (compare(scores(draws=n), {"m": LOSS}, "m", {"m": "10% of gain"}).verdict for n in (1, 0))
    assert found["margin"] == without["margin"] == pytest.approx(0.05, abs=0.01)


def test_draws_are_called_draws_in_both_languages():
    found = compare(scores(), {"m": LOSS}, "m", {"m": 0.05})
    shown = next(c for c in found.comparisons if c.question == "tuned_vs_best_base" and c.detail["best_on_choosing"])
    assert shown.detail["replicates"] == {"seeds": 4, "draws": 3}
    assert "4 seeds and 3 draws" in found.verdict["sentence_en"]
    assert "4 シードと 3 抽出" in found.verdict["sentence_ja"]
