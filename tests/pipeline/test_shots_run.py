"""The untuned model is asked and scored with training rows in its prompt, the same for all templates."""

import json
import re

import pytest

from iikata.cli import main
from iikata.config.sections import UntunedSettings
from iikata.core.errors import IikataError
from iikata.core.records import Arm, Before, Cell
from iikata.pipeline import Pipeline
from iikata.pipeline.foreseeing import foresee
from iikata.score.nll import held_out_nll
from iikata.templates import drawn
from tiny_experiment import ONE_ARM, contents, experiment

SHOWN = [Cell(Arm(None, draw), f"{name}+2shots") for draw in range(6) for name in ("alpaca_short", "plain")]


@pytest.fixture(scope="module")
def run(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("shots")
    made = experiment(folder, llama_folder, untuned={"shots": [0, 2], "draws": 6})
    pipeline = Pipeline(made, folder / "run")
    pipeline.run()
    return pipeline.context


def test_every_draw_is_asked_under_every_template_and_no_adapter_is(run):
    told = {cell for cell in run.experiment.cells() if cell.prompted_with.endswith("shots")}
    assert told == set(SHOWN)
    for cell in SHOWN:
        answers = run.store.read_answers(run.store.answers(cell))
        assert len(answers) == len(run.probes) * run.experiment.generate.samples
        assert {(one.trained_on, one.seed) for one in answers} == {(None, cell.arm.seed)}


def test_a_draws_rows_stand_in_the_prompt_of_both_templates(run):
    for cell in SHOWN:
        rows = drawn(run.data.train, 2, cell.arm.seed)
        prompt = run.tokenizer.text(run.prompts.ids(cell, run.probes[0]))
        for row in rows:
            assert prompt.index(row.instruction) < prompt.index(row.output) < prompt.index(run.probes[0].instruction)
    assert len({tuple(row.id for row in drawn(run.data.train, 2, draw)) for draw in range(4)}) > 1
    assert drawn(run.data.train, 2, 1) == drawn(run.data.train, 5, 1)[:2]


def test_held_out_rows_are_scored_behind_the_examples(run):
    cell = SHOWN[3]
    shots = tuple((row.instruction, row.output) for row in drawn(run.data.train, 2, cell.arm.seed))
    template = run.templates[cell.prompted_with.partition("+")[0]]
    scores = {
        s.probe: s.value
        for s in run.store.read_scores("nll")
        if (s.trained_on, s.seed, s.prompted_with) == (None, cell.arm.seed, cell.prompted_with)
    }
    from dataclasses import replace

    rows = [replace(row, before=Before("", shots)) for row in run.data.validation]
    for row, wanted in zip(
        rows, held_out_nll(run.base, None, rows, template, run.tokenizer, (), 500, 1000, True), strict=True
    ):
        assert scores[row.id] == pytest.approx(wanted.nll, rel=1e-5)


def test_the_comparison_is_with_the_best_of_templates_and_examples(run):
    made = json.loads(run.store.comparisons.read_text())
    (one, *_) = (c for c in made["comparisons"] if c["question"] == "tuned_vs_best_base" and c["metric"] == "nll")
    assert set(one["detail"]["base_on_choosing"]) == {
        "alpaca_short", "plain", "alpaca_short+2shots", "plain+2shots"
    }  # fmt: skip
    assert "2shots" in (run.store.path / "report" / "report.md").read_text()


def test_examples_beyond_the_models_length_are_told_before_training(tmp_path, llama_folder):
    made = experiment(tmp_path, llama_folder, untuned={"shots": [0, 10], "draws": 6}, generate={"max_new_tokens": 5000})
    context = Pipeline(made, tmp_path / "run").context
    (told, *_) = (finding for finding in foresee(context) if "examples" in finding.message)
    assert (told.rule, told.severity) == ("design", "error")
    assert "alpaca_short+10shots: a question with its examples and answer has 5," in told.message


def test_fewer_draws_than_can_be_chosen_from_and_tested_are_refused(tmp_path, llama_folder):
    with pytest.raises(IikataError, match=r"untuned\.draws: 5 was seen; .*(6|six)"):
        experiment(tmp_path, llama_folder, untuned={"shots": [0, 2], "draws": 5})


def test_a_run_that_was_made_with_fewer_draws_says_how_it_goes_on_and_keeps_what_it_has(tmp_path, llama_folder, capsys):
    made = experiment(tmp_path, llama_folder, templates=["plain"], train=ONE_ARM, untuned={"shots": [0, 2]})
    old = made.model_copy(update={"untuned": UntunedSettings.model_construct(shots=(0, 2), draws=4)})
    Pipeline(old, run := tmp_path / "run").run()
    before = contents(run)
    capsys.readouterr()
    assert main(["report", str(run)]) == 1
    told = capsys.readouterr().err
    assert re.search(r"experiment.yaml:\d+:\d+: untuned.draws: 4 was seen; a whole number from 6 on", told)
    assert "goes on: iikata run RUN --set untuned.draws=6" in told
    assert main(["run", str(run), "--set", "untuned.draws=6"]) == 0
    after = contents(run)
    kept = [name for name in before if name.startswith("train/") or name.startswith("generate/")]
    assert len(kept) > 5
    assert [name for name in kept if after[name] != before[name]] == []
    new = {name for name in after.keys() - before.keys() if name.startswith("generate/")}
    assert len(new) == 2, "the draws that were lacking"
    assert main(["report", str(run)]) == 0
