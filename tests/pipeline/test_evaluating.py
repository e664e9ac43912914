"""The held-out loss while training is what score says of the same adapter, and training does not notice it."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from iikata.core.errors import IikataError
from iikata.core.evaluation import Evaluation, lowest, told
from iikata.pipeline import Evaluated, Pipeline, Told
from iikata.pipeline.evaluating import Evaluator
from iikata.run_folder import RunFolder, read_lines
from marks import long
from tiny_experiment import KilledError, contents, experiment, killer

MADE = ("eval.jsonl", "DONE", "experiment.yaml")
"""What may differ between a run with and without: the curve, the hash of it, the setting."""


def declared(folder, model, **train):
    return experiment(folder, model, train=train)


def curves(run, arm):
    return list(read_lines(run / "train" / arm / "eval.jsonl"))


def scored(run, arm, template, rows=None):
    """Return the mean of what `iikata score` wrote of an arm under a template."""
    found = [
        one.value
        for one in RunFolder(run).read_scores("nll")
        if f"{one.trained_on}.s{one.seed}" == arm and one.prompted_with == template and one.probe in (rows or one.probe)
    ]
    assert found
    return math.fsum(found) / len(found)


def test_the_last_evaluation_is_the_mean_nll_that_score_gives_the_arm(whole_run):
    for name in ("alpaca_short", "plain"):
        for seed in (0, 1):
            last = curves(whole_run, f"{name}.s{seed}")[-1]
            assert last["value"] == scored(whole_run, f"{name}.s{seed}", name)
            assert (last["step"], last["rows"], last["metric"]) == (6, 12, "nll")


def test_start_and_end_are_evaluated_wherever_the_end_lies():
    evaluator = Evaluator.__new__(Evaluator)
    evaluator.on, run = True, SimpleNamespace(steps=6, stopped="", epoch_steps=3)
    for every, wanted in (("epoch", [0, 3, 6]), (4, [0, 4, 6]), (10, [0, 6])):
        evaluator._every = every
        assert [step for step in range(7) if evaluator.due(run, step)] == wanted


def test_an_evaluation_in_the_middle_is_what_score_gives_a_run_that_ends_there(tmp_path, llama_folder):
    long = declared(tmp_path, llama_folder, schedule="constant", seeds=[0])
    short = declared(tmp_path, llama_folder, schedule="constant", seeds=[0], epochs=1)
    Pipeline(long, tmp_path / "long").run("train")
    Pipeline(short, tmp_path / "short").run("score")
    start, middle, end = curves(tmp_path / "long", "plain.s0")
    assert (start["step"], middle["step"], end["step"]) == (0, 3, 6)
    assert middle["value"] == scored(tmp_path / "short", "plain.s0", "plain")
    assert start["value"] == scored_base(tmp_path / "short", "plain")
    assert len({start["value"], middle["value"], end["value"]}) == 3


def scored_base(run, template):
    found = [
        one.value
        for one in RunFolder(run).read_scores("nll")
        if one.trained_on is None and one.prompted_with == template
    ]
    return math.fsum(found) / len(found)


@pytest.mark.parametrize("mixed", [1, 4])
def test_training_makes_the_same_bytes_with_and_without(tmp_path, llama_folder, mixed):
    runs = {}
    for steps in (0, 1, "epoch"):
        folder = tmp_path / str(steps)
        folder.mkdir()
        (folder / "shapes.json").write_text(json.dumps({"mixed_arms": mixed}))
        lora = {"r": 4, "target_modules": "all-linear", "dropout": 0.1}
        Pipeline(declared(tmp_path, llama_folder, eval_steps=steps, lora=lora, epochs=1), folder).run("train")
        runs[steps] = {n: c for n, c in contents(folder).items() if not n.endswith(MADE)}
    assert runs[0] == runs[1] == runs["epoch"]
    assert not list((tmp_path / "0").rglob("eval.jsonl"))
    assert [one["step"] for one in curves(tmp_path / "1", "plain.s1")] == [*range(4)]


def test_arms_side_by_side_are_each_evaluated_as_they_are(tmp_path, llama_folder):
    for mixed in (1, 4):
        folder = tmp_path / str(mixed)
        folder.mkdir()
        (folder / "shapes.json").write_text(json.dumps({"mixed_arms": mixed}))
        Pipeline(declared(tmp_path, llama_folder, eval_steps=2), folder).run("train")
    for arm in ("plain.s0", "plain.s1", "alpaca_short.s0"):
        alone, beside = curves(tmp_path / "1", arm), curves(tmp_path / "4", arm)
        assert [one["step"] for one in beside] == [0, 2, 4, 6]
        # Training itself rounds otherwise where arms share a buffer.
        assert [one["value"] for one in beside] == pytest.approx([one["value"] for one in alone], rel=1e-3)


@pytest.mark.parametrize(
    ("seconds", "after"), [(0, 9), (3600, 14), *long((0, 1), (0, 14), (0, 23), (3600, 1), (3600, 9), (3600, 23))]
)
def test_a_kill_and_resume_gives_the_same_curves(tmp_path, llama_folder, after, seconds):
    asked = declared(tmp_path, llama_folder, eval_steps=2, checkpoint_seconds=seconds)
    Pipeline(asked, tmp_path / "whole").run("train")
    with pytest.raises(KilledError):
        Pipeline(asked, tmp_path / "killed", killer("train", after)).run("train")
    Pipeline(asked, tmp_path / "killed").run("train")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_so_many_rows_are_drawn_and_are_the_same_for_every_arm(tmp_path, llama_folder, whole_run):
    Pipeline(declared(tmp_path, llama_folder, eval_rows=5), tmp_path / "run").run("train")
    rows = sorted({one.probe for one in RunFolder(whole_run).read_scores("nll")})[:5]
    for arm in ("plain.s0", "alpaca_short.s1"):
        last = curves(tmp_path / "run", arm)[-1]
        assert last["rows"] == 5
        assert last["value"] == pytest.approx(scored(whole_run, arm, arm[:-3], rows), rel=1e-6)


def test_without_held_out_rows_nothing_is_evaluated(tmp_path, llama_folder):
    told = []
    changes = {
        "data": {"train": "train.jsonl", "validation": 0},
        "score": {"primary": "contains", "metrics": ["contains"]},
    }
    asked = experiment(tmp_path, llama_folder, compare={"margin": 0.1}, **changes)
    Pipeline(asked, tmp_path / "run", told.append).run("train")
    assert not list(tmp_path.rglob("eval.jsonl"))
    assert not [event for event in told if isinstance(event, Evaluated)]


def test_the_lowest_is_told_by_its_step_and_the_last_is_kept(tmp_path, llama_folder):
    events = []
    asked = declared(tmp_path, llama_folder, eval_steps=1, seeds=[0], learning_rate=0.1, schedule="constant")
    Pipeline(asked, tmp_path / "run", events.append).run("train")
    curve = [Evaluation(**one) for one in curves(tmp_path / "run", "plain.s0")]
    best = min(curve, key=lambda one: one.value)
    assert best.step < 6, "a rate of 0.1, which overshoots, is what this test is about"
    (said,) = (event.message for event in events if isinstance(event, Told) and "plain.s0" in event.message)
    assert said == (
        f"plain.s0@plain: held-out nll is lowest at step {best.step} of 6: {best.value:.4f}; "
        f"the adapter is that of step 6: {curve[-1].value:.4f}"
    )
    seen = [event for event in events if isinstance(event, Evaluated) and event.evaluation.arm == "plain.s0"]
    assert [event.evaluation for event in seen] == curve
    assert seen[-1].lowest == best


def test_a_mixture_is_evaluated_under_each_of_its_templates(tmp_path, llama_folder):
    mixed = [{"name": "mixed", "template": ["alpaca_short", "plain"]}]
    Pipeline(experiment(tmp_path, llama_folder, templates=[], variants=mixed), tmp_path / "run").run("train")
    found = curves(tmp_path / "run", "mixed.s0")
    assert [(one["step"], one["prompted_with"]) for one in found] == [
        (step, name) for step in (0, 3, 6) for name in ("alpaca_short", "plain")
    ]


def test_a_run_goes_on_under_another_eval_steps_which_cannot_vary(tmp_path, llama_folder):
    Pipeline(declared(tmp_path, llama_folder, eval_steps=0), tmp_path / "run").run("train")
    before = contents(tmp_path / "run" / "train")
    Pipeline(declared(tmp_path, llama_folder, eval_steps=2, eval_rows=3), tmp_path / "run").run("report")
    assert {name: content for name, content in contents(tmp_path / "run" / "train").items()} == before
    with pytest.raises(IikataError, match=r"train\.eval_steps.*it changes no result"):
        experiment(tmp_path, llama_folder, vary={"train.eval_steps": [1, 2]}).recipes  # noqa: B018


def test_lowest_is_the_earliest_of_equals_and_never_what_is_no_number():
    one = Evaluation("a.s0", 0, "a", "nll", math.nan, 3)
    curve = [one, *(replace(one, step=step, value=value) for step, value in ((1, 0.5), (2, 0.25), (3, 0.25)))]
    assert lowest(curve) == curve[2]
    assert lowest([one]) is None
    assert told([one], 4) == "a.s0@a: held-out nll was never a number"
    assert told(curve, 3).startswith("a.s0@a: held-out nll is lowest at step 2 of 3: 0.2500; the adapter is")
    assert told(curve[:3], 2) == "a.s0@a: held-out nll is lowest at step 2 of 2: 0.2500"
