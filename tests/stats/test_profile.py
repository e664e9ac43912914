"""A profile's points are the cells' means, and its intervals those of the paired differences between them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_scores import NUMBER, RATE, made, normal

from iikata.stats import compare

LR = "train.learning_rate"


def scores(tables, levels, template="alpaca"):
    """Return the scores of one variant a level: {name: table}."""
    return [
        replace(one, template=template, levels=levels[name])
        for name, table in tables.items()
        for one in made({(name, template): table}, "m")
    ]


def rates(**tables):
    """Return the scores of variants that differ in their learning rate: high=..., low=..."""
    levels = {"low": {LR: "1e-4"}, "mid": {LR: "3e-4"}, "high": {LR: "0.001"}}
    return scores(tables, levels)


def profiles(given, metric=NUMBER, **more):
    return compare(given, {"m": metric}, "m", {}, **more).profiles


def test_points_are_the_means_in_the_order_of_their_numbers():
    tables = {name: normal(4, 20, rng=i) for i, name in enumerate(("high", "low", "mid"))}
    (one,) = profiles(rates(**tables))
    (curve,) = one["curves"]
    assert [point["value"] for point in curve["points"]] == [1e-4, 3e-4, 1e-3]
    assert [point["mean"] for point in curve["points"]] == pytest.approx(
        [tables[name].mean() for name in ("low", "mid", "high")]
    )
    assert (one["factor"], one["n_seeds"], one["n_clusters"]) == (LR, 4, 20)


def test_of_two_points_each_interval_is_the_paired_difference_s_by_the_root_of_two():
    # What a row does to both alike, however large, must not be seen.
    shared = np.random.default_rng(9).normal(0, 50, (1, 20))
    result = compare(rates(low=normal(4, 20, rng=1) + shared, high=normal(4, 20, rng=2) + shared), {"m": NUMBER}, "m")
    (difference,) = (c for c in result.comparisons if c.question == "matched")
    half = (difference.interval[1] - difference.interval[0]) / 2
    for point in result.profiles[0]["curves"][0]["points"]:
        low, high = point["interval"]
        assert (high - low) / 2 == pytest.approx(half / math.sqrt(2))
        assert (high + low) / 2 == pytest.approx(point["mean"])


def test_each_other_setting_has_a_curve_of_its_own_and_names_make_none():
    tables = {f"{t}{r}": normal(4, 20, rng=i) for i, (t, r) in enumerate([("a", 1), ("a", 2), ("b", 1), ("b", 2)])}
    given = [
        replace(one, template=name[0], prompted_with=name[0], levels={LR: f"{name[1]}e-4", "train.lora": f"r{name[1]}"})
        for name, table in tables.items()
        for one in made({(name, name): table}, "m")
    ]
    assert profiles(given, factor="template", others="each") == [], "rate and rank vary together: no curve of either"
    alone = [replace(one, levels={LR: one.levels[LR]}) for one in given]
    (one,) = profiles(alone, factor="template", others="each")
    assert [(curve["levels"], len(curve["points"])) for curve in one["curves"]] == [
        ({"template": "a"}, 2),
        ({"template": "b"}, 2),
    ]


def test_with_a_choice_nothing_that_chose_is_in_the_profile():
    chosen_on = np.where(np.arange(5)[:, None] < 2, 100.0, 0.0)
    tables = {name: normal(5, 30, rng=i) + chosen_on for i, name in enumerate(("a1", "a2", "b1", "b2"))}
    given = [
        replace(one, template=name[0], prompted_with=name[0], levels={LR: f"{name[1]}e-4"})
        for name, table in tables.items()
        for one in made({(name, name): table}, "m")
    ]
    (one,) = profiles(given, factor="template", others="best", choosing_seeds=(0, 1))
    assert (one["n_seeds"], one["n_clusters"]) == (3, 20)
    assert all(abs(point["mean"]) < 1 for curve in one["curves"] for point in curve["points"])


def test_a_variant_without_a_number_leaves_the_others_theirs_and_a_share_stays_one():
    lost = rates(low=normal(4, 20, 0.5), mid=np.full((4, 20), np.nan), high=normal(4, 20, 0.5, rng=1))
    (one,) = profiles(lost)
    assert [point["variant"] for point in one["curves"][0]["points"]] == ["low", "high"]
    ones = rates(low=np.ones((4, 20)), high=np.tile([0.0, 1.0], (4, 10)))
    (one,) = profiles(ones, RATE)
    assert one["curves"][0]["points"][0]["interval"][1] == 1.0
