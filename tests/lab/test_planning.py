"""A plan counts what a run does, and takes its variances from what is stated, a pilot, or an assumption."""

import json
from collections import Counter

import pytest

from iikata.compare import variance_components
from iikata.errors import IikataError
from iikata.lab import Lab
from iikata.lab.planning import ASSUMED, plan
from tiny_experiment import experiment, values


@pytest.fixture(scope="module")
def pilot(tmp_path_factory, llama_folder):
    """A finished run: 2 templates x 2 seeds, 12 training rows, 12 held-out rows, 3 probes x 2 samples."""
    folder = tmp_path_factory.mktemp("pilot")
    Lab(experiment(folder, llama_folder), folder / "run").run("score")
    return folder / "run"


def planned(pilot, model, stated=(), taken=None, **changes):
    lab = Lab(experiment(pilot.parent, model, **changes), pilot.parent / "planned")
    return plan(lab.materials, dict(stated), taken)


def test_counts_are_those_of_the_tiny_experiment_by_hand(pilot, llama_folder):
    made = planned(pilot, llama_folder)
    assert made["arms"] == 2 * 2
    assert made["cells"] == (4 + 1) * 2  # every arm and the base under both templates
    assert made["steps"] == 4 * 2 * 3  # arms x epochs x (12 rows in batches of 4)
    assert made["answers"] == 10 * 3 * 2  # cells x probes x samples
    assert made["held_out_rows"] == 10 * 12
    assert (made["power"]["seeds"], made["power"]["probes"], made["power"]["samples"]) == (2, 12, 1)


def test_a_plan_counts_what_the_run_then_did(pilot, llama_folder):
    made, done = planned(pilot, llama_folder), Counter()
    for line in map(json.loads, (pilot / "timing.jsonl").read_text().splitlines()):
        done.update({(line["stage"], key): line[key] for key in ("tokens", "answers", "rows") if key in line})
    assert made["train_tokens"] == done["train", "tokens"]
    assert made["answers"] == done["generate", "answers"]
    assert made["held_out_rows"] == done["score", "rows"]


@pytest.mark.parametrize(
    ("primary", "design"),
    [("nll", (2, 12, 1)), ("contains", (2, 3, 2)), ("nll_reference", (2, 3, 1))],
)
def test_a_metric_counts_the_clusters_and_samples_that_it_is_made_of(pilot, llama_folder, primary, design):
    made = planned(pilot, llama_folder, score={"primary": primary, "metrics": [primary]}, compare={"margin": 0.1})
    assert tuple(made["power"][name] for name in ("seeds", "probes", "samples")) == design


def test_nothing_is_trained_and_no_weights_are_loaded(pilot, llama_folder):
    lab = Lab(experiment(pilot.parent, llama_folder), pilot.parent / "nothing")
    plan(lab.materials, {})
    assert "base" not in vars(lab.materials)
    assert not (pilot.parent / "nothing").exists()


def test_variances_are_assumed_where_nothing_better_is_known(pilot, llama_folder):
    made = planned(pilot, llama_folder)
    assert made["components_from"] == "assumed"
    assert made["components"]["seed_template"] == ASSUMED["likelihood"].seed_template
    assert made["seconds"] == {}


def test_a_finished_run_as_the_pilot_gives_variances_and_speed(pilot, llama_folder):
    made = planned(pilot, llama_folder, taken=pilot)
    lines = [json.loads(line) for line in (pilot / "score" / "nll.jsonl").read_text().splitlines()]
    from iikata.records import Score

    estimated = variance_components([Score(**line) for line in lines], "nll")
    assert made["components"]["probe_template"] == estimated.probe_template
    assert made["components"]["residual"] == estimated.residual > 0
    assert made["components_from"] == f"pilot {pilot}"
    spent = {
        line["stage"]: line["seconds"] for line in map(json.loads, (pilot / "timing.jsonl").read_text().splitlines())
    }
    # The same work at the same speed takes the same time, to the second that it is told in.
    assert made["seconds"].keys() == {"train", "generate", "score"}
    assert all(abs(seconds - spent[stage]) <= 0.51 for stage, seconds in made["seconds"].items())


def test_twice_the_epochs_take_twice_the_pilots_training_time(pilot, llama_folder):
    train = values(llama_folder)["train"] | {"epochs": 400}
    spent = next(
        line["seconds"]
        for line in map(json.loads, (pilot / "timing.jsonl").read_text().splitlines())
        if line["stage"] == "train"
    )
    made = planned(pilot, llama_folder, taken=pilot, train=train)
    assert made["seconds"]["train"] == pytest.approx(200 * spent, abs=0.51)


def test_what_is_stated_goes_before_the_pilot_and_the_pilot_before_what_is_assumed(pilot, llama_folder):
    made = planned(pilot, llama_folder, {"probe_template": 5.0}, pilot)
    alone = planned(pilot, llama_folder, taken=pilot)
    assert made["components"] == alone["components"] | {"probe_template": 5.0}
    assert made["components_from"] == f"pilot {pilot}; stated: probe_template"
    assert made["power"]["detectable"] > alone["power"]["detectable"]


def test_more_seeds_find_smaller_effects(pilot, llama_folder):
    train = values(llama_folder)["train"]
    few, many = (planned(pilot, llama_folder, train=train | {"seeds": list(range(n))})["power"] for n in (3, 8))
    assert many["detectable"] < few["detectable"]
    assert many["equivalent_margin"] < few["equivalent_margin"]
    assert few["more"][few["buys_most"]] == min(few["more"].values())


def test_a_negative_standard_deviation_is_refused(pilot, llama_folder):
    with pytest.raises(IikataError, match=r"0 or more, saw .*-0\.1"):
        planned(pilot, llama_folder, {"sample": -0.1})


def test_a_pilot_without_scores_is_refused_by_its_name(pilot, llama_folder, tmp_path):
    with pytest.raises(IikataError, match="cannot be the pilot"):
        planned(pilot, llama_folder, taken=tmp_path)


def test_the_keys_of_the_json_stay(pilot, llama_folder):
    made = planned(pilot, llama_folder)
    counts = {"arms", "cells", "steps", "train_tokens", "answers", "held_out_rows"}
    assert made.keys() == counts | {
        "primary",
        "unit",
        "margin",
        "components",
        "components_from",
        "power",
        "seconds",
    } | {"estimate"}
    assert (made["primary"], made["unit"], made["margin"]) == ("nll", "bits per byte", 0.02)
    json.dumps(made, allow_nan=False)
