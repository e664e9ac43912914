"""Means, counts and variances of samples are numpy's, and come back from the file as the same comparisons."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_scores import RATE, made

from iikata.core.errors import IikataError
from iikata.stats import compare
from iikata.stats.published import condensed, read_columns, read_published, write_published
from iikata.stats.table import tabulate


@pytest.fixture
def scores():
    draw = np.random.default_rng(0)
    table = {
        ("a", "a"): draw.integers(0, 2, (3, 20, 4)),
        ("b", "b"): draw.integers(0, 2, (3, 20, 4)),
        (None, "a"): draw.integers(0, 2, (1, 20, 4)),
    }
    told = [replace(s, metric=RATE.name) for s in made(table)]
    told[5] = replace(told[5], value=math.nan)
    return [replace(s, levels={"train.lr": "1e-3"}, template="a") if s.trained_on == "b" else s for s in told]


def test_moments_are_those_of_the_samples(scores):
    columns = condensed(tabulate(scores))
    for place in range(len(columns["mean"])):
        key = tuple(columns[name][place] for name in ("trained_on", "seed", "prompted_with", "probe"))
        own = [s.value for s in scores if (s.trained_on, s.seed, s.prompted_with, s.probe) == key]
        good = [value for value in own if math.isfinite(value)]
        assert (columns["count"][place], columns["missing"][place]) == (len(good), len(own) - len(good))
        assert columns["mean"][place] == pytest.approx(np.mean(good), abs=1e-12)
        assert columns["variance"][place] == pytest.approx(np.var(good, ddof=1), abs=1e-12)


def test_the_file_gives_the_same_comparisons(scores, tmp_path):
    table = tabulate(scores)
    write_published(tmp_path / "s.parquet", condensed(table))
    back = read_published(tmp_path / "s.parquet")
    assert back.variants == table.variants
    one, two = (
        compare(t, {RATE.name: RATE}, RATE.name, {RATE.name: 0.1}, factor="variant").to_json() for t in (table, back)
    )
    assert [c["n_samples"] for c in one["comparisons"]] == [c["n_samples"] for c in two["comparisons"]]
    for now, then in zip(two["comparisons"], one["comparisons"], strict=True):
        assert now["difference"] == pytest.approx(then["difference"], abs=1e-12)
        assert now["interval"] == pytest.approx(then["interval"], abs=1e-12)
        assert now["detail"].get("missing") == then["detail"].get("missing")
    assert one["left_out"] == two["left_out"]


def test_a_single_sample_has_no_variance(tmp_path):
    columns = condensed(tabulate(made({("a", "a"): np.ones((2, 3))})))
    assert columns["variance"] == [None] * 6
    write_published(tmp_path / "s.parquet", columns)
    assert np.isnan(read_columns(tmp_path / "s.parquet")["variance"]).all()


def test_another_file_is_refused(tmp_path):
    (tmp_path / "s.parquet").write_text("no")
    with pytest.raises(IikataError, match="no published scores"):
        read_published(tmp_path / "s.parquet")
