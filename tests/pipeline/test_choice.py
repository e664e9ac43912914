"""choice and choice_norm are lm-eval's acc and acc_norm, to the last probe, in every cell."""

import gc
import json
import math
import random
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import oracle
from iikata.core.encoded import Encoded
from iikata.core.records import Arm, Probe
from iikata.metrics.choice import chance_of
from iikata.pipeline import Pipeline, Progress, likelihood
from iikata.pipeline.foreseeing import foresee
from iikata.pipeline.time_left import TimeLeft
from iikata.score.choice import Asked, chosen, encode_choices, laid
from tiny_experiment import ONE_ARM, experiment

ORACLE = Path(__file__).parents[1] / "lm_eval_oracle.py"
TEMPLATE = {
    "prompt_input": "{instruction}\n{input}\nA:",
    "prompt_no_input": "{instruction}\nA:",
    "response_split": "A:",
}
WORDS = ("red", "blue", "dark green", "色", "空の色", "white and black", "x", "東京タワー", "No", "1957", "a!", "café")


def questions(count=60):
    made, draw = [], random.Random(5)
    for number in range(count):
        choices = [f" {word}" for word in draw.sample(WORDS, draw.choice((2, 3, 5)))]
        right = draw.randrange(len(choices))
        answer = choices[right] if number % 2 else right
        made.append({"id": f"q{number}", "instruction": f"Q{number}: {draw.choice(WORDS)}?", "choices": choices,
                     "answer": answer, **({"input": "of now"} if number % 3 == 0 else {})})  # fmt: skip
    return made


def declared(folder, model, probes, **changes):
    wanted = {"templates": [], "score": {"primary": "choice", "metrics": ["choice", "choice_norm", "nll"]}}
    wanted |= {"generate": {"samples": 1, "max_new_tokens": 2}, "compare": {"margin": {"choice": 0.1}}}
    made = experiment(folder, model, **wanted | changes)
    (folder / "probes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in probes), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory, llama_folder):
    """A finished run of the base and an adapter that answers otherwise."""
    folder = tmp_path_factory.mktemp("choices")
    (folder / "asked.json").write_text(json.dumps(TEMPLATE))
    torch.manual_seed(0)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False}
    oracle.new_adapter(llama_folder, **settings).save_pretrained(folder / "theirs")
    variants = [{"name": "theirs", "template": "./asked.json", "adapters": ["theirs"]}]
    probes = [*questions(), {"id": "none", "instruction": "No choices?"}]
    pipeline = Pipeline(declared(folder, llama_folder, probes, variants=variants), folder / "run")
    pipeline.run("compare")
    return pipeline.context


def merged(run, dest, base):
    """Merge the adapter by peft: given one, lm-eval cuts the rows that the base has beyond its tokenizer's tokens."""
    shutil.copytree(base, dest)
    oracle.with_adapter(base, run.experiment.folder / "theirs").merge_and_unload().save_pretrained(dest)
    return dest


def found(run, metric, arm):
    return {
        s.probe: s.value for s in run.store.read_scores(metric) if (s.trained_on, s.seed) == (arm.variant, arm.seed)
    }


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="make test-lm-eval lays lm-eval over the environment")
@pytest.mark.parametrize("arm", [Arm(), Arm("theirs", 0)], ids=lambda arm: arm.name)
def test_every_probe_is_right_where_lm_eval_says_so(arm, run, tmp_path, llama_folder):
    template = run.templates["asked"]
    rows = [
        {"prompt": template.render(p.instruction, p.input).prompt, "choices": list(p.choices), "answer": p.answer}
        for p in run.probes
        if p.choices
    ]
    model = merged(run, tmp_path / "merged", llama_folder) if arm.variant else llama_folder
    told = subprocess.run(
        [sys.executable, str(ORACLE), str(model), str(tmp_path)],
        input=json.dumps(rows), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    wanted = json.loads(told.stdout.splitlines()[-1])
    ours = [[found(run, metric, arm)[p.id] for metric in ("choice", "choice_norm")] for p in run.probes if p.choices]
    assert ours == wanted
    assert 0 < sum(acc for acc, _ in wanted) < len(wanted)
    assert [acc for acc, _ in wanted] != [norm for _, norm in wanted]


def test_the_adapter_chooses_otherwise_than_the_base_and_what_has_no_choices_has_no_number(run):
    base, theirs = (found(run, "choice", arm) for arm in (Arm(), Arm("theirs", 0)))
    assert base != theirs
    assert math.isnan(base.pop("none"))
    assert set(base.values()) == {0.0, 1.0}


def test_one_probe_at_a_time_chooses_as_packed_ones_do(run, llama_folder):
    asked = list(encode_choices(run.probes, run.templates["asked"], run.tokenizer, 200))
    alone = [next(chosen(run.base, None, [one], laid(run.base, [one], 8))) for one in asked]
    packed = list(chosen(run.base, None, asked, laid(run.base, asked, 2048)))
    assert alone == packed
    assert {one.id: one.choice for one in packed} == {
        k: v for k, v in found(run, "choice", Arm()).items() if k != "none"
    }


def test_a_choice_is_weighed_by_its_characters_and_not_by_its_bytes(monkeypatch):
    one = Asked(Probe("p", "Which?", choices=("色", "red"), answer=0), rows=(None, None))
    monkeypatch.setattr("iikata.score.choice.nats_in", lambda *_: iter([{"answer": 2.2}, {"answer": 6.3}]))
    (found,) = chosen(None, None, [one], [((), None)])
    assert (found.choice, found.choice_norm) == (1.0, 0.0)


def test_a_choice_that_is_cut_leaves_its_probe_without_a_number(tmp_path, llama_folder):
    probes = [{"instruction": "Which?", "choices": ["red", "blue " * 300], "answer": "red"}, questions(1)[0]]
    pipeline = Pipeline(declared(tmp_path, llama_folder, probes, templates=["plain"]), tmp_path / "run")
    pipeline.run("score")
    values_of = found(pipeline.context, "choice", Arm())
    assert math.isnan(values_of["p001"])
    assert values_of["q0"] in (0.0, 1.0)


def test_chance_stands_in_the_signature_and_two_guessers_are_not_assessable(run):
    signature = run.store.read_scores("choice")[0].signature
    counts = [len(p.choices) for p in run.probes if p.choices]
    assert chance_of([signature]) == pytest.approx(sum(1 / n for n in counts) / len(counts), rel=1e-5)
    made = json.loads(run.store.comparisons.read_text())["comparisons"]
    (against,) = (c for c in made if (c["question"], c["metric"]) == ("tuned_vs_base", "choice"))
    # A random model guesses, and so does a random adapter over it.
    assert "chance" in [gate["name"] for gate in against["gates"]]
    assert against["verdict"] == "NOT_ASSESSABLE"


def test_a_second_run_scores_nothing_again_and_an_edited_choice_is_scored_again(tmp_path, llama_folder):
    probes = questions(4)
    Pipeline(declared(tmp_path, llama_folder, probes, templates=["plain"], train=ONE_ARM), tmp_path / "run").run(
        "score"
    )
    path = tmp_path / "run" / "score" / "choices_from.json"
    before = path.read_text()
    probes[0]["choices"][0] += " indeed"
    probes[0]["answer"] = 0
    Pipeline(declared(tmp_path, llama_folder, probes, templates=["plain"], train=ONE_ARM), tmp_path / "run").run(
        "score"
    )
    assert path.read_text() != before


def test_without_choices_it_cannot_decide(tmp_path, llama_folder):
    made = declared(tmp_path, llama_folder, [{"instruction": "Why?"}], templates=["plain"])
    (finding, *_) = foresee(Pipeline(made, tmp_path / "run").context)
    assert "the primary metric choice is measured on probes, and none of them has choices" in finding.message


def test_the_base_with_examples_chooses_as_one_sequence_at_a_time_does(tmp_path, llama_folder):
    probes = questions(12)
    untuned = {"shots": [0, 2], "draws": 6}
    made = declared(tmp_path, llama_folder, probes, templates=["plain"], train=ONE_ARM, untuned=untuned)
    pipeline = Pipeline(made, tmp_path / "run")
    pipeline.run("score")
    context = pipeline.context
    scored = {(s.seed, s.prompted_with, s.probe): s.value for s in context.store.read_scores("choice")}
    cells = [cell for arm in context.experiment.bases() for cell in context.cells_of(arm)]
    assert len({cell.prompted_with for cell in cells}) == 2
    model = oracle.plain(llama_folder)
    for cell in cells:
        for asked in encode_choices(context.probes, context.prompts.of(cell), context.tokenizer, 4000):
            sums = []
            for row in asked.rows:
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
                places = [i for i, role in enumerate(row.roles) if role == "answer"]
                sums.append(sum(float(logits[i - 1, row.input_ids[i]]) for i in places))
            right = float(sums.index(max(sums)) == asked.probe.answer)
            assert scored[cell.arm.seed, cell.prompted_with, asked.probe.id] == right


@pytest.fixture(scope="module")
def with_examples(tmp_path_factory, llama_folder):
    """Adapters and the untuned model, with examples and without, as far as the choices that they are asked."""
    folder = tmp_path_factory.mktemp("examples")
    made = declared(
        folder, llama_folder, questions(4), templates=["plain", "alpaca_short"], untuned={"shots": [0, 2], "draws": 6},
        score={"primary": "choice", "metrics": ["choice"]},
    )  # fmt: skip
    Pipeline(made, folder / "run").run("generate")
    return made, folder / "run"


def scored_anew(with_examples, monkeypatch, meanwhile):
    """Score the run and return what it tells; `meanwhile` is called with each cell that is asked."""
    events, asked = [], likelihood._chosen

    def watched(ctx, cell, texts, tokens):
        found = asked(ctx, cell, texts, tokens)
        meanwhile(cell)
        return found

    monkeypatch.setattr(likelihood, "_chosen", watched)
    made, out = with_examples
    shutil.rmtree(out / "score", ignore_errors=True)
    Pipeline(made, out, events.append).run("score")
    return [event for event in events if isinstance(event, Progress) and event.stage == "score"]


def test_the_time_left_is_right_once_a_fifth_is_scored_however_long_examples_take(with_examples, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(likelihood, "TimeLeft", partial(TimeLeft, now=lambda: clock[0]))
    ends = []

    def takes(cell):
        clock[0] += 30 if "shots" in cell.prompted_with else 1
        ends.append(clock[0])

    told = scored_anew(with_examples, monkeypatch, takes)
    assert len(told) > 20
    late = [(event.left, ends[-1] - end) for event, end in zip(told, ends, strict=True) if 5 * event.done >= event.todo]
    assert all(ours == pytest.approx(true) for ours, true in late)


def test_tokens_of_one_cells_examples_do_not_stay_in_memory(with_examples, monkeypatch):
    alive = []

    def count(cell):
        if "shots" in cell.prompted_with:
            gc.collect()
            alive.append(sum(isinstance(one, Encoded) for one in gc.get_objects()))

    scored_anew(with_examples, monkeypatch, count)
    assert len(alive) == 12
    assert max(alive) - alive[0] < 30  # a cell has some hundred; what other tests left behind may come and go


def test_a_probe_that_is_not_sampled_is_read_and_never_answered(tmp_path, llama_folder):
    probes = [{**one, "sampled": False} for one in questions(12)] + [{"id": "asked", "instruction": "And you?"}]
    metrics = {"primary": "choice", "metrics": ["choice", "nll", "finish"]}
    pipeline = Pipeline(declared(tmp_path, llama_folder, probes, templates=["plain"], score=metrics), tmp_path / "run")
    pipeline.run()
    run = pipeline.context
    answers = [one for path in run.store.all_answers() for one in run.store.read_answers(path)]
    assert {one.probe for one in answers} == {"asked"}
    assert {s.probe for s in run.store.read_scores("finish")} == {"asked"}
    assert sum(not math.isnan(s.value) for s in run.store.read_scores("choice")) == 12 * 3
    assert run.store.report.joinpath("index.html").is_file()
