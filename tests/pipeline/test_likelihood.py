"""Probe references are scored as the held-out rows are: by the adapter from disk, once, in every cell."""

import json
import math

import pytest

from iikata.core.errors import IikataError
from iikata.core.records import Arm, Example
from iikata.pipeline import Pipeline, Progress
from iikata.pipeline.gates import reopen
from iikata.score.nll import held_out_nll
from tiny_experiment import experiment

PROBES = [
    {"id": "p0", "instruction": "Which colour is red?", "references": ["It is red.", "red"], "cluster": "c"},
    {"id": "p1", "instruction": "Which colour is blue?", "input": "now", "references": ["blue"], "cluster": "c"},
    {"id": "p2", "instruction": "Which colour is it?"},
    {"id": "p3", "instruction": "Which colour is green?", "references": ["green " * 200]},
]
SCORE = {"primary": "nll_reference", "metrics": ["nll_reference", "finish"]}


def declared(folder, model, probes=PROBES, score=SCORE):
    made = experiment(folder, model, score=score, compare={"margin": 0.02})
    (folder / "probes.jsonl").write_text("".join(json.dumps(probe) + "\n" for probe in probes), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory, llama_folder):
    """A finished run's context; tests read it and never write to it."""
    folder = tmp_path_factory.mktemp("references")
    pipeline = Pipeline(declared(folder, llama_folder), folder / "run")
    pipeline.run("compare")
    return pipeline.context


def test_the_first_reference_is_scored_as_a_row_with_that_answer_would_be(run):
    scores = {(s.trained_on, s.seed, s.prompted_with, s.probe): s for s in run.store.read_scores("nll_reference")}
    assert len(scores) == 10 * len(PROBES)
    rows = [
        Example("p0", PROBES[0]["instruction"], "", "It is red."),
        Example("p1", "Which colour is blue?", "now", "blue"),
    ]
    for arm in (Arm("plain", 1), Arm()):
        if arm.variant:
            assert reopen(run, arm)
        name = arm.name if arm.variant else None
        for template in ("plain", "alpaca_short"):
            for row in rows:  # each by itself, without a prefix shared with others
                (wanted,) = held_out_nll(run.base, name, [row], run.templates[template], run.tokenizer, (), 200, 2048)
                found = scores[arm.variant, arm.seed, template, row.id]
                assert found.value == pytest.approx(wanted.nll, rel=1e-5)
                assert (found.cluster, found.sample, found.metric) == ("c", 0, "nll_reference")


def test_a_probe_without_a_reference_or_with_one_that_is_cut_has_no_number(run):
    for one in run.store.read_scores("nll_reference"):
        assert math.isnan(one.value) == (one.probe in ("p2", "p3"))


def test_it_can_be_the_primary_metric_and_counts_what_has_no_number(run):
    made = json.loads(run.store.comparisons.read_text())
    matched = next(c for c in made["comparisons"] if c["question"] == "matched")
    assert (matched["metric"], matched["n_probes"], matched["n_clusters"]) == ("nll_reference", 2, 1)
    assert [gate["name"] for gate in matched["gates"]] == ["rows_left_out"]


def test_held_out_rows_are_not_scored_unless_they_are_listed(run):
    assert not run.store.scores("nll").is_file()
    assert not run.store.scored_from.is_file()


def test_nothing_is_scored_twice_and_what_was_lost_or_added_is_scored_everywhere(tmp_path, llama_folder):
    told = []
    small = declared(tmp_path, llama_folder, PROBES[1:2])
    Pipeline(small, tmp_path / "run").run("score")
    Pipeline(small, tmp_path / "run", told.append).run("score")
    assert not [event for event in told if isinstance(event, Progress)]
    pipeline = Pipeline(declared(tmp_path, llama_folder, PROBES[:2]), tmp_path / "run")
    pipeline.run("score")
    scored = pipeline.context.store.read_scores("nll_reference")
    assert [s.probe for s in scored] == ["p0", "p1"] * 10
    pipeline.context.store.write_scores("nll_reference", scored[:-1])
    pipeline.run("score")
    assert pipeline.context.store.read_scores("nll_reference") == scored


def test_without_probes_there_is_nothing_to_compare_and_it_is_told_before_training(tmp_path, llama_folder):
    score = {"primary": "nll_reference", "metrics": ["nll_reference"]}
    changes = {"probes": None, "score": score, "compare": {"margin": 0.02}, "train": {"seeds": [0]}}
    with pytest.raises(
        IikataError, match="nll_reference is measured on probes, and there are none: nothing would decide"
    ):
        Pipeline(experiment(tmp_path, llama_folder, **changes), tmp_path / "run").run("compare")
    assert not list((tmp_path / "run").rglob("*.safetensors"))
