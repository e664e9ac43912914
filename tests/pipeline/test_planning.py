"""A plan counts what a run does, and takes its variances from what is stated, a pilot, or an assumption."""

import json
from collections import Counter
from itertools import chain, product
from math import isnan

import pytest

from iikata.cli import plan_lines
from iikata.config import read
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.pipeline import STAGES
from iikata.pipeline.plan import ASSUMED, PARTS, plan
from iikata.pipeline.stages.check import examine
from iikata.stats import power, variance_components
from tiny_experiment import experiment, values, write_files


@pytest.fixture
def pilot(whole_run):
    """A finished run: 2 templates x 2 seeds, 12 training rows, 12 held-out rows, 3 probes x 2 samples."""
    return whole_run


def lines(made):
    return [line.en for line in plan_lines.lines(made, made)]


def timed(pilot):
    return [json.loads(line) for line in (pilot / "timing.jsonl").read_text().splitlines()]


def planned(pilot, model, stated=(), taken=None, **changes):
    pipeline = Pipeline(experiment(pilot.parent, model, **changes), pilot.parent / "planned")
    return plan(pipeline.context, dict(stated), taken)


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
    for line in timed(pilot):
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
    pipeline = Pipeline(experiment(pilot.parent, llama_folder), pilot.parent / "nothing")
    plan(pipeline.context, {})
    assert "base" not in vars(pipeline.context)
    assert not (pilot.parent / "nothing").exists()


def test_variances_are_assumed_where_nothing_better_is_known(pilot, llama_folder):
    made = planned(pilot, llama_folder)
    assert made["components_from"] == "assumed"
    assert made["components"]["seed_template"] == ASSUMED["likelihood"].seed_template
    assert made["seconds"] == {}


def test_a_finished_run_as_the_pilot_gives_variances_and_speed(pilot, llama_folder):
    made = planned(pilot, llama_folder, taken=pilot)
    lines = [json.loads(line) for line in (pilot / "score" / "nll.jsonl").read_text().splitlines()]
    from iikata.core.records import Score

    estimated = variance_components([Score(**line) for line in lines], "nll")
    assert made["components"]["probe_template"] == estimated.probe_template
    assert made["components"]["residual"] == estimated.residual > 0
    assert made["components_from"] == f"pilot {pilot}"
    spent = {line["stage"]: line["seconds"] for line in timed(pilot)}
    # The same work at the same speed takes the same time, to the second that it is told in.
    assert made["seconds"].keys() == {"train", "generate", "score"}
    assert all(abs(seconds - spent[stage]) <= 0.51 for stage, seconds in made["seconds"].items())


def test_twice_the_epochs_take_twice_the_pilots_training_time(pilot, llama_folder):
    (spent,) = (line["seconds"] for line in timed(pilot) if line["stage"] == "train")
    made = planned(pilot, llama_folder, taken=pilot, train={"epochs": 400})
    assert made["seconds"]["train"] == pytest.approx(200 * spent, abs=0.51)


def test_what_is_stated_goes_before_the_pilot_and_the_pilot_before_what_is_assumed(pilot, llama_folder):
    made = planned(pilot, llama_folder, {"probe_template": 5.0}, pilot)
    alone = planned(pilot, llama_folder, taken=pilot)
    assert made["components"] == alone["components"] | {"probe_template": 5.0}
    assert made["components_from"] == f"pilot {pilot}; stated: probe_template"
    assert made["power"]["detectable"] > alone["power"]["detectable"]


def test_more_seeds_find_smaller_effects(pilot, llama_folder):
    few, many = (planned(pilot, llama_folder, train={"seeds": list(range(n))})["power"] for n in (3, 8))
    assert many["detectable"] < few["detectable"]
    assert many["equivalent_margin"] < few["equivalent_margin"]
    assert few["more"][few["buys_most"]] == min(few["more"].values())


def test_a_standard_deviation_that_no_share_can_have_is_refused(pilot, llama_folder):
    score = {"primary": "contains", "metrics": ["contains"]}
    with pytest.raises(IikataError, match=r"contains lies between 0 and 1, where no standard deviation exceeds 0\.5"):
        planned(pilot, llama_folder, {"sample": 40.0}, score=score, compare={"margin": 0.1})
    for wrong in ("nan", "-0.1"):
        with pytest.raises(IikataError, match=rf"0 or more, saw .*{wrong}"):
            planned(pilot, llama_folder, {"sample": float(wrong)})


def test_a_difference_larger_than_any_that_there_can_be_is_not_promised(pilot, llama_folder):
    score = {"primary": "contains", "metrics": ["contains"]}
    wild = {"seed_template": 0.5, "probe_template": 0.5}
    more = {"score": score, "compare": {"margin": 0.1}, "train": {"seeds": [0, 1, 2]}}
    made = planned(pilot, llama_folder, wild, **more)
    assert made["power"]["detectable"] > made["span"] == 1
    assert lines(made)[-1] == "no difference could be found: the largest there can be is 1 share of answers"


def test_every_stages_time_is_in_the_total(pilot, llama_folder):
    assert {line["stage"] for line in timed(pilot)} == set(STAGES) == set(chain.from_iterable(PARTS.values()))
    assert sum(map(len, PARTS.values())) == len(STAGES)  # and none twice
    for taken in (None, pilot):
        made = planned(pilot, llama_folder, taken=taken)
        spent = {part: made["seconds"].get(part, made["estimate"][f"{part}_seconds"]) for part in PARTS}
        assert made["hours"] * 3600 == pytest.approx(sum(spent.values()))
        assert all(seconds > 0 for part, seconds in spent.items() if part not in made["seconds"])


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
    } | {"hours", "cost", "estimate", "assumed_from", "questions", "variants", "levels", "span", "unanswered"}
    assert (made["primary"], made["unit"], made["margin"]) == ("nll", "bits per byte", 0.02)
    json.dumps(made, allow_nan=False)


def test_one_seed_more_never_makes_what_can_be_found_larger():
    for kind, parts in ASSUMED.items():
        for seeds, probes, samples in product((1, 2, 3, 5, 9), (3, 9, 10, 12, 30), (1, 20)):
            told = power(parts, seeds, probes, samples)
            for name, then in told.more.items():
                assert then <= told.detectable * (1 + 1e-9), (kind, seeds, probes, samples, name)
            if told.scope is None:
                assert told.more == {}
                assert isnan(told.detectable)
            more = power(parts, seeds + 1, probes, samples)
            assert more.seed_noise < told.seed_noise  # one seed never looks as good as two
            if more.scope == told.scope and told.scope:
                assert more.detectable <= told.detectable * (1 + 1e-9)


DESIGNS = {
    # seeds, primary -> what is said of the template and of LoRA
    (2, "nll"): ("for these adapters only", "cannot be answered: 2 seeds and 8 held-out rows (and 4 set aside"),
    (1, "nll"): ("for these adapters only, not for training again: 1 seed and 12", "cannot be answered: 1 seed and 8"),
    (3, "nll"): ("for the training recipe", "on these held-out rows only, not on others: 3 seeds and 8 held-out rows"),
    (2, "contains"): ("cannot be answered: 2 seeds and 3 probe clusters are too few", "cannot be answered"),
    (3, "contains"): ("on these probe clusters only, not on others: 3 seeds and 3", "on these probe clusters only"),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_plan_and_check_say_which_questions_cannot_be_answered(pilot, llama_folder, design):
    seeds, primary = design
    settings = {
        "train": {"seeds": list(range(seeds))},
        "score": {"primary": primary, "metrics": [primary]},
        "compare": {"margin": 0.1},
    }
    said = [one["said"] for one in planned(pilot, llama_folder, **settings)["questions"]]
    pipeline = Pipeline(experiment(pilot.parent, llama_folder, **settings), pilot.parent / "checked")
    found = [finding for finding in examine(pipeline.context) if finding.rule == "design"]
    for told, expected, asked in zip(said, DESIGNS[design], ("template matters", "LoRA was needed"), strict=True):
        assert expected in told
        assert asked in told
        severity = "warning" if "cannot" in expected else None if "recipe" in expected else "info"
        assert [one.severity for one in found if one.message == told] == ([severity] if severity else [])


def test_one_template_is_not_planned_as_two(pilot, llama_folder):
    made = planned(pilot, llama_folder, templates=["plain"])
    assert [one["question"] for one in made["questions"]] == ["tuned_vs_best_base"]
    assert (made["power"]["detectable"], made["power"]["more"]) == (None, {})
    assert "difference between templates" not in "\n".join(lines(made))


NOTHING_TO_MEASURE = {
    "no held-out rows": ({"data": {"train": "train.jsonl", "validation": 0}}, "nll", "data.validation is 0"),
    "no probes": ({"probes": None}, "contains", "measured on probes, and there are none"),
    "no patterns": ({}, "pattern", "none of them has a pattern"),
}


@pytest.mark.parametrize("case", NOTHING_TO_MEASURE)
def test_a_primary_metric_with_nothing_to_measure_is_refused_before_training(llama_folder, tmp_path, case):
    settings, primary, why = NOTHING_TO_MEASURE[case]
    declared = (
        values(llama_folder, score={"primary": primary, "metrics": [primary]}, compare={"margin": 0.1}) | settings
    )
    write_files(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(declared, indent=1), encoding="utf-8")
    for attempt in (
        lambda: Pipeline(read(path), tmp_path / "run").run(force=True),
        lambda: plan(Pipeline(read(path), tmp_path / "run").context, {}),
    ):
        with pytest.raises(IikataError, match=rf"mine\.yaml:\d+:\d+: the primary metric {primary} .*{why}"):
            attempt()
    assert not (tmp_path / "run" / "train").exists()


ONE, RATES = {"templates": ["plain"]}, {"vary": {"train.learning_rate": [0.01, 0.02]}}
UNANSWERED = {
    "nothing": ({}, []),
    "no margin": ({"compare": {"margin": {}}}, ["equivalence: no margin is declared for contains"]),
    "no probes": (
        {"probes": None, "score": {"metrics": ["nll", "contains", "finish"]}, "compare": {"margin": 0.1}},
        ["there are no probes, so no contains, finish", "equivalence by any metric but nll"],
    ),
    "no content metric": (
        {"score": {"metrics": ["nll", "finish"]}, "compare": {"margin": {"nll": 0.1, "finish": 0.1}}},
        ["right answers: contains is not among"],
    ),
    "one template": (ONE, ["whether the template matters: one level", "whether the prompt must match"]),
    "a template to prompt with": (ONE | {"prompt_only": ["alpaca_short"]}, ["whether the template matters"]),
    "no held-out rows": ({"data": {"train": "train.jsonl", "validation": 0}}, ["no rows are held out, so no nll"]),
    "each": (
        RATES | {"compare": {"others": "each", "margin": {"contains": 0.1, "nll": 0.1}}},
        ["others: each explores"],
    ),
}
BOTH = {
    "score": {"primary": "contains", "metrics": ["contains", "nll"]},
    "compare": {"margin": {"contains": 0.1, "nll": 0.1}},
}


@pytest.mark.parametrize("case", UNANSWERED)
def test_a_plan_names_what_no_result_will_answer(pilot, llama_folder, case):
    changes, expected = UNANSWERED[case]
    made = planned(pilot, llama_folder, **{**BOTH, **changes})
    assert len(made["unanswered"]) == len(expected)
    assert all(part in said for part, said in zip(expected, made["unanswered"], strict=True))
    assert all(f"not answered: {said}" in lines(made) for said in made["unanswered"])


def test_a_factor_s_plan_speaks_of_that_factor(pilot, llama_folder):
    made = planned(pilot, llama_folder, templates=["plain"], vary={"train.learning_rate": [0.01, 0.02]})
    assert made["questions"][0]["said"].startswith("whether train.learning_rate matters")
    assert made["variants"] == 2
    assert any(line.startswith("smallest difference between levels of train.learning_rate") for line in lines(made))


def test_rows_of_one_document_count_as_one_cluster_and_are_called_so(llama_folder, tmp_path):
    write_files(tmp_path)
    for path in (tmp_path / "train.jsonl", tmp_path / "validation.jsonl"):
        rows = map(json.loads, path.read_text().splitlines())
        lines = [json.dumps({**row, "document": f"{path.stem} {i // 2}"}) for i, row in enumerate(rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
    data = {"train": "train.jsonl", "validation": "validation.jsonl", "columns": {"cluster": "document"}}
    made = planned(tmp_path / "run", llama_folder, data=data)
    assert made["power"]["probes"] == 6
    assert "6 documents of held-out rows" in made["questions"][0]["said"]
