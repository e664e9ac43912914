"""Variants: any setting may vary; each arm equals its solo run, and what is compared is what was declared."""

import json
import shutil
from itertools import combinations

import pytest

from iikata.cli import main
from iikata.config import dump, read
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.plan import plan
from iikata.pipeline.rating import own_templates
from iikata.pipeline.stages.check import examine
from iikata.rating import Ratings, pairs
from tiny_experiment import experiment, write_files

VARY = {
    "train.learning_rate": [1e-2, 3e-2],
    "train.lora": {"r4": {"r": 4}, "r8": {"r": 8, "alpha": 32, "use_rslora": True}},
}


def run(folder, model, **changes):
    made = Pipeline(experiment(folder, model, **changes), folder / "run", lambda event: None)
    made.run("report")
    return made.context


@pytest.fixture(scope="module")
def grid(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("grid")
    vary = {**VARY, "train.loss_on": ["completion", "all"]}
    train = {"seeds": [0, 1], "epochs": 1}
    return run(
        folder,
        llama_folder,
        templates=["alpaca_short"],
        vary=vary,
        train=train,
        generate={"samples": 1, "max_new_tokens": 4},
        compare={"factor": "train.learning_rate", "others": "average"},
    )


def test_variants_are_named_by_their_levels_and_score_lines_carry_them(grid):
    names = list(grid.experiment.recipes)
    assert names[0] == "alpaca_short+lr0.01+r4+completion"
    assert len(names) == 8
    line = json.loads(grid.store.scores("nll").read_text().splitlines()[0])
    assert line["trained_on"] == names[0]
    assert line["template"] == "alpaca_short"
    assert line["levels"] == {"train.learning_rate": "0.01", "train.lora": "r4", "train.loss_on": "completion"}


def test_the_verdict_is_about_the_declared_factor(grid):
    found = json.loads(grid.store.comparisons.read_text())
    assert found["verdict"]["factor"] == "train.learning_rate"
    matched = [c for c in found["comparisons"] if c["question"] == "matched" and c["metric"] == "nll"]
    assert [(c["treatment"]["trained_on"], c["control"]["trained_on"]) for c in matched] == [("0.01", "0.03")]
    assert matched[0]["n_seeds"] == 2


@pytest.mark.parametrize("name", ["alpaca_short+lr0.03+r8+all", "alpaca_short+lr0.01+r4+completion"])
def test_an_arm_beside_others_of_other_shapes_has_the_bytes_of_its_solo_run(grid, name, tmp_path, llama_folder):
    recipe = grid.experiment.recipes[name].train
    solo = run(
        tmp_path,
        llama_folder,
        templates=["alpaca_short"],
        train={**recipe.model_dump(mode="json"), "seeds": [1]},
        generate={"samples": 1, "max_new_tokens": 4},
    )
    weights = "adapter_model.safetensors"
    alone, beside = solo.store.arm(Arm("alpaca_short", 1)) / weights, grid.store.arm(Arm(name, 1)) / weights
    assert alone.read_bytes() == beside.read_bytes()


@pytest.fixture(scope="module")
def mixture(tmp_path_factory, llama_folder):
    mixed = {"name": "mixed", "template": ["alpaca_short", "plain"]}
    return run(tmp_path_factory.mktemp("mixture"), llama_folder, variants=[mixed])


def test_a_mixture_trains_each_row_under_one_template_drawn_by_row_and_seed(mixture):
    context = mixture
    under = {name: context.encoded_with(context.templates[name]) for name in ("alpaca_short", "plain")}
    for seed in (0, 1):
        samples = context.samples(Arm("mixed", seed))
        which = [next(n for n, rows in under.items() if rows[i] == row) for i, row in enumerate(samples)]
        assert set(which) == {"alpaca_short", "plain"}
    assert context.samples(Arm("mixed", 0)) != context.samples(Arm("mixed", 1))
    found = json.loads(context.store.comparisons.read_text())["comparisons"]
    asked = {
        (c["treatment"]["trained_on"], c["treatment"]["prompted_with"]) for c in found if c["question"] == "mixture"
    }
    assert asked == {("mixed", "alpaca_short"), ("mixed", "plain")}


def test_a_plan_counts_a_mixture_s_own_tokens(mixture):
    steps = [step for arm in mixture.experiment.arms() for step in mixture.store.read_steps(arm)]
    made = plan(mixture, {})
    assert (made["steps"], made["train_tokens"]) == (len(steps), sum(step.tokens for step in steps))
    alone = {name: sum(len(row.input_ids) for row in rows) for name, rows in mixture.encoded.items()}
    of_mixed = [sum(len(row.input_ids) for row in mixture.samples(Arm("mixed", seed))) for seed in (0, 1)]
    assert min(alone.values()) < of_mixed[0] != of_mixed[1] < max(alone.values())


def test_blind_ratings_of_a_mixture_become_scores_and_comparisons_as_those_of_templates(
    mixture, llama_folder, tmp_path
):
    shutil.copytree(mixture.store.path.parent, tmp_path, dirs_exist_ok=True)
    mixed = {"name": "mixed", "template": ["alpaca_short", "plain"]}
    pipeline = Pipeline(experiment(tmp_path, llama_folder, variants=[mixed]), tmp_path / "run", lambda event: None)
    ctx = pipeline.context
    answers = [a for cell in ctx.experiment.cells() for a in ctx.store.read_answers(ctx.store.answers(cell))]
    literals = {name: template.template_literals() for name, template in ctx.templates.items()}
    for pair in pairs(answers, ctx.probes, literals, "mia", ctx.experiment.generate.seed, own_templates(ctx)):
        mine = [side for side in (pair.left, pair.right) if side.cell.arm.variant == "mixed"]
        Ratings(ctx.store.ratings).add(pair, "mia", "tie" if not mine else "left" if mine[0] is pair.left else "right")
    for stage in ("score", "compare"):
        pipeline.only(stage)
    found = json.loads(ctx.store.comparisons.read_text())["comparisons"]
    rated = [c for c in found if (c["question"], c["metric"]) == ("matched", "rated")]
    sides = {(c["treatment"]["trained_on"], c["control"]["trained_on"]): c["difference"] for c in rated}
    assert {frozenset(names) for names in sides} == {
        frozenset(two) for two in combinations(("alpaca_short", "plain", "mixed"), 2)
    }
    assert sides["alpaca_short", "mixed"] < 0
    assert sides["plain", "mixed"] < 0


def test_levels_of_the_data_are_measured_by_the_same_rows_and_trained_on_none_of_them(tmp_path, llama_folder):
    write_files(tmp_path)
    lines = (tmp_path / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half.jsonl").write_text("".join(lines[:7]))
    vary = {"data.train": {"half": "half.jsonl", "all": "train.jsonl"}}
    context = run(
        tmp_path, llama_folder, data={"train": "train.jsonl", "validation": 3}, templates=["plain"], vary=vary
    )
    held = {row.id for row in context.data.validation}
    trained = {name: {row.id for row in context.samples(Arm(name, 0))} for name in ("plain+half", "plain+all")}
    assert len(held) == 3
    assert trained["plain+half"] < trained["plain+all"]
    assert not trained["plain+all"] & held
    assert json.loads(context.store.comparisons.read_text())["verdict"]["factor"] == "data.train"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"vary": {"train.learning_rte": [1e-4, 3e-4]}},
            "train.learning_rte is no setting that can vary .did you mean",
        ),
        ({"vary": {"train.seeds": [0, 1]}}, "train.seeds cannot vary: every variant has every seed"),
        ({"vary": {"train.learning_rate": [1e-4, -1]}}, "train.learning_rate: -1 was seen; .*greater than 0"),
        ({"vary": {"train.learning_rate": [3e-4, 3e-4]}}, "is the name of two variants"),
        ({"vary": {"train.lora": [{"r": 8}]}}, "settings that go together need a name"),
        ({"vary": {"template": ["plain"]}}, "the template varies through `templates:`"),
        ({"variants": [{"name": "again", "template": "plain"}]}, '"again" and "plain" are trained the same way'),
        ({"train": {"lora": {"use_dora": True}}}, "use_dora asks for DoRA"),
        ({"templates": []}, "nothing to train"),
    ],
)
def test_what_cannot_vary_is_told_before_anything_is_trained(changes, told, tmp_path, llama_folder):
    with pytest.raises(IikataError, match=told):
        experiment(tmp_path, llama_folder, **changes)


@pytest.mark.parametrize(
    ("compare", "told"),
    [
        ({}, "more than template varies: train.learning_rate"),
        ({"others": "best"}, "chooses on 2 seeds or more"),
        ({"others": "best", "choosing_seeds": [0, 1]}, "tests on 3 others or more"),
        ({"factor": "train.epochs", "others": "each"}, '"train.epochs" does not vary'),
    ],
)
def test_a_question_that_the_variants_cannot_answer_is_refused_before_training(compare, told, tmp_path, llama_folder):
    with pytest.raises(IikataError, match=told):
        run(tmp_path, llama_folder, vary={"train.learning_rate": [1e-4, 3e-4]}, compare=compare)
    assert not (tmp_path / "run" / "train").exists()


def test_a_plan_counts_what_is_left_to_test_beside_what_chooses(tmp_path, llama_folder):
    made = experiment(
        tmp_path,
        llama_folder,
        vary={"train.learning_rate": [1e-3, 1e-2]},
        train={"seeds": [0, 1, 2, 3, 4]},
        compare={"others": "best", "choosing_seeds": [0, 1]},
    )
    told = plan(Pipeline(made, tmp_path / "run", lambda event: None).context, {})
    assert (told["power"]["seeds"], told["power"]["probes"]) == (3, 8)  # of 5 seeds and 12 rows
    assert told["arms"] == 20


def test_a_rank_that_varies_alone_is_warned_of(tmp_path, llama_folder):
    made = experiment(tmp_path, llama_folder, templates=["plain"], vary={"train.lora.r": [4, 8]})
    found = examine(Pipeline(made, tmp_path / "run", lambda event: None).context)
    assert any("alpha / r varies too" in finding.message for finding in found)


def test_a_file_is_frozen_and_read_again_as_it_was_written(tmp_path, llama_folder):
    """Levels are read with their lines; the copy in the run folder gives the same variants."""
    write_files(tmp_path)
    text = f"""
model: {{base: {llama_folder}, dtype: float32}}
data: {{train: train.jsonl, validation: validation.jsonl}}
templates: [plain]
vary:
  train.learning_rate: [1e-4, 3e-4]
  train.lora: {{r4: {{r: 4}}, r8: {{r: 8, alpha: 32}}}}
variants:
  - {{name: slow, template: [plain, alpaca_short], train: {{learning_rate: 1e-5, lora: {{r: 2}}}}}}
compare: {{factor: train.learning_rate, others: average, choosing_seeds: [0]}}
"""
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    made = read(tmp_path / "e.yaml")
    (tmp_path / "copy.yaml").write_text(dump(made), encoding="utf-8")
    again = read(tmp_path / "copy.yaml")
    assert {n: r.content[:2] for n, r in again.recipes.items()} == {n: r.content[:2] for n, r in made.recipes.items()}
    assert list(made.recipes) == ["plain+lr1e-4+r4", "plain+lr1e-4+r8", "plain+lr3e-4+r4", "plain+lr3e-4+r8", "slow"]
    (tmp_path / "e.yaml").write_text(text.replace("3e-4", "-3e-4"), encoding="utf-8")
    with pytest.raises(IikataError, match=r"e\.yaml:6:31: train\.learning_rate: -3e-4 was seen; .*greater than 0"):
        read(tmp_path / "e.yaml")


def test_an_arm_of_rslora_is_exported_and_asked_as_it_was_trained(grid, tmp_path, capsys):
    """Its scale, alpha / sqrt(r), stands in the exported configuration, which peft and iikata read."""
    base = str(grid.experiment.model.base)
    export(grid, "alpaca_short+lr0.01+r8+all.s0", tmp_path / "out", base=base)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (8, 32, True)
    assert main(["ask", str(tmp_path / "out"), "Which colour?"]) == 0
    assert "alpaca_short" in capsys.readouterr().out


def test_a_variant_whose_cutoff_leaves_no_row_is_refused_before_training(tmp_path, llama_folder):
    vary = {"train.cutoff_len": [5, 200]}
    with pytest.raises(
        IikataError, match=r"variant plain.len5: every row under plain is longer than its train.cutoff_len 5"
    ):
        run(tmp_path, llama_folder, templates=["plain"], vary=vary)
