"""A margin that is a share of the gain is measured on the choosing third, and that third is not tested."""

import numpy as np
import pytest
from made_scores import made, normal

from iikata.core.errors import IikataError
from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.pairing import choosing_third

LOSS = Metric.declared("m", "lower", None, "bits", "likelihood", on_rows=True)
C = 60
THIRD = choosing_third([f"p{p:03d}" for p in range(C)])


def scores(base=1.0, tuned=0.5, seeds=4):
    cells = {(name, name): normal(seeds, C, tuned, 0.01, 0.1, rng) for rng, name in enumerate("AB")}
    return cells | {(None, "A"): normal(1, C, base + 0.2, 0, 0.1, 5), (None, "B"): normal(1, C, base, 0, 0.1, 6)}


def result(cells, margin="10% of gain"):
    return compare(made(cells), {"m": LOSS}, "m", {"m": margin})


def test_the_margin_is_the_share_of_the_gain_over_the_best_base_on_the_choosing_third():
    cells = scores()
    tuned = np.mean([cells[name, name][:, THIRD].mean() for name in "AB"])
    base = min(cells[None, name][:, THIRD].mean() for name in "AB")
    found = result(cells, "20% of gain")
    assert found.verdict["margin"] == pytest.approx(0.2 * (base - tuned))
    assert found.settings["gains"]["m"]["clusters"] == THIRD.sum()
    assert "The margin is 20% of what tuning gained on the 20 clusters" in found.verdict["sentence_en"]


def test_no_comparison_tests_the_clusters_that_measured_the_margin():
    cells = scores()
    before = result(cells).comparisons
    assert {c.n_clusters for c in before if c.question != "noise_floor"} == {C - THIRD.sum()}
    for table in cells.values():
        table[:, THIRD] -= 5.0  # the same for all: the gain stays, and nothing that is tested may move
    moved = {(c.question, str(c.treatment), str(c.control)): c for c in result(cells).comparisons}
    for c in before:
        if c.question != "noise_floor":
            assert moved[c.question, str(c.treatment), str(c.control)].difference == pytest.approx(c.difference)


@pytest.mark.parametrize("cells", [scores(base=0.5), scores(base=0.2), {k: v for k, v in scores().items() if k[0]}])
def test_without_a_clear_gain_there_is_no_margin_and_nothing_is_equivalent(cells):
    found = result(cells)
    assert found.verdict["margin"] is None
    assert not {"EQUIVALENT", "SMALL"} & {c.verdict for c in found.comparisons}
    assert any("m has no margin: it is declared as 10% of what tuning gains" in said for said in found.warnings)
    assert "there is no margin" in found.verdict["sentence_en"]


def test_an_adapter_that_failed_a_gate_does_not_lower_the_margin():
    from iikata.core.records import Gate

    cells = scores() | {("C", "C"): normal(4, C, 1.0, 0.01, 0.1, 9)}
    dead = [Gate("dead_adapter", "C.s0", False)]
    sound = compare(made(cells), {"m": LOSS}, "m", {"m": "10% of gain"}, gates=dead).verdict["margin"]
    assert sound == pytest.approx(result(scores()).verdict["margin"])


@pytest.mark.parametrize("margin", ["10% of the gain", "0% of gain", "100% of gain", "a lot"])
def test_another_text_is_refused(margin):
    with pytest.raises(IikataError, match='as "10% of gain", is allowed'):
        result(scores(), margin)


def test_rows_of_one_document_are_one_cluster_in_what_is_said():
    cells = scores()
    documents = [f"d{p // 3:02d}" for p in range(C)]
    found = compare(made(cells, clusters=documents), {"m": LOSS}, "m", {"m": 0.1})
    assert "20 documents of held-out rows" in found.verdict["sentence_en"]
    assert "検証文書" in found.verdict["sentence_ja"]
