"""Reading score lines: what may stand in one, and every bad one is told by its number."""

import json
import math
from dataclasses import asdict

import pytest
from made_scores import NUMBER, made, normal, records

from iikata.core.errors import IikataError
from iikata.core.records import Score, Variant
from iikata.stats import compare, read_table

LINE = {
    "trained_on": "A", "seed": 0, "prompted_with": "A", "probe": "p1", "cluster": "c1", "sample": 0, "metric": "m",
    "value": 1.0, "signature": "m|v:1",
}  # fmt: skip


def line(**changes) -> str:
    return json.dumps({k: v for k, v in {**LINE, **changes}.items() if v != "gone"}, ensure_ascii=False)


def write(tmp_path, *lines, end="\n"):
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def test_a_line_becomes_the_record_it_describes(tmp_path):
    (score,) = records(read_table(write(tmp_path, line(probe="色の三原色"))))
    assert score == Score("A", 0, "A", "色の三原色", "c1", 0, "m", 1.0, "m|v:1")


def test_what_may_be_left_out_has_its_documented_value(tmp_path):
    (score,) = records(read_table(write(tmp_path, line(cluster="gone", sample="gone", signature="gone"))))
    assert (score.cluster, score.sample, score.signature) == ("p1", 0, "")


@pytest.mark.parametrize("value", [None, math.nan])
def test_null_and_nan_mean_not_scored(tmp_path, value):
    (score,) = records(read_table(write(tmp_path, line(value=value))))
    assert math.isnan(score.value)


def test_values_may_be_true_or_false_and_names_whole_numbers(tmp_path):
    first, second = records(
        read_table(write(tmp_path, line(value=True, probe=7, cluster=0), line(value=False, probe=8)))
    )
    assert (first.value, first.probe, first.cluster) == (1.0, "7", "0")
    assert (second.value, second.probe) == (0.0, "8")


def test_a_line_may_name_its_template_and_levels(tmp_path):
    recipe = {"template": "A", "levels": {"train.learning_rate": "3e-4", "train.lora.r": 8}}
    table = read_table(write(tmp_path, line(**recipe)))
    assert table.variants == {"A": Variant("A", ("A",), (("train.learning_rate", "3e-4"), ("train.lora.r", "8")))}


@pytest.mark.parametrize(
    "other",
    [{"levels": {"train.learning_rate": "1e-3"}}, {"template": "B", "levels": {"train.learning_rate": "3e-4"}}, {}],
)
def test_what_was_trained_in_two_ways_is_never_averaged_under_one_name(tmp_path, other):
    recipe = {"levels": {"train.learning_rate": "3e-4"}}
    with pytest.raises(IikataError, match=r':2: "A" has template .* on an earlier line template A .*another name'):
        read_table(write(tmp_path, line(**recipe), line(sample=1, **other)))


def test_variants_that_differ_in_more_than_the_template_are_never_compared_as_templates(tmp_path):
    b = {"trained_on": "B", "prompted_with": "B", "levels": {"train.lora.r": 64}}
    table = read_table(write(tmp_path, line(levels={"train.lora.r": 8}), line(**b)))
    with pytest.raises(IikataError, match=r"more than template varies: train\.lora\.r"):
        compare(table, {"m": NUMBER}, "m")


def test_all_bad_lines_are_told_at_once(tmp_path):
    with pytest.raises(IikataError) as error:
        read_table(write(tmp_path, "x", line(), "", line(value="y")))
    assert ":1: " in str(error.value)
    assert ":4: " in str(error.value)


@pytest.fixture
def several(tmp_path):
    tables = {("A", "A"): normal(3, 12, rng=1), ("B", "B"): normal(3, 12, rng=2), (None, "A"): normal(1, 12, rng=3)}
    tables["A", "A"][0, 0] = math.nan
    scores = made(tables) + made(tables, "n", clusters=[f"c{i // 2}" for i in range(12)])
    return write(tmp_path, *(json.dumps(asdict(s)) for s in scores)), scores


def test_records_and_table_compare_alike(several):
    path, scores = several
    of_table, of_records = (compare(s, {"m": NUMBER, "n": NUMBER}, "m").to_json() for s in (read_table(path), scores))
    assert of_table == of_records


def test_what_is_read_is_what_was_written(several):
    path, scores = several
    assert [repr(s) for s in records(read_table(path))] == [repr(s) for s in scores]
