"""What training takes is estimated from counts of tokens and bytes and from speeds that are measured on the spot."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import models
from iikata.model import memory
from iikata.pipeline import Pipeline, Progress, Stepped, buffer_plan, estimate, estimate_answers
from iikata.pipeline.stages import train
from tiny_experiment import KilledError, experiment, killer


def context(folder, model, **changes):
    return Pipeline(experiment(folder, model, **changes), folder / "run").context


def planned(pipeline):
    """Return what a process that opens the run now works with."""
    vars(pipeline).pop("buffer_plan", None)
    return pipeline.buffer_plan


@pytest.fixture
def known_speeds(monkeypatch):
    """A device of 1e9 operations and 1e8 bytes a second."""
    monkeypatch.setattr(estimate, "products", lambda *_: 1e9)
    monkeypatch.setattr(estimate, "bandwidth", lambda *_: 1e8)


def test_several_devices_take_as_long_as_the_one_that_has_most_to_do():
    assert [estimate.longest_share([3, 3, 2, 2, 2], devices) for devices in (1, 2, 4, 8)] == [12, 7, 4, 3]


@pytest.mark.usefixtures("known_speeds")
def test_time_is_tokens_times_products_and_bytes(tmp_path, llama_folder):
    pipeline = context(tmp_path, llama_folder)
    found = estimate.estimate(pipeline)
    need = memory.need(pipeline.base.config, torch.float32, 4, 4, "all-linear")
    a_token = 4 * memory.parameters(pipeline.base.config) / 1e9 + estimate.PASSES["cpu"] * need.kept / 1e8
    a_token += 2 * estimate.LAUNCH["cpu"] / found["buffer_tokens"]  # two layers
    # Two seeds of two epochs; held-out rows, as many and as long as trained ones, are read at the start and after each.
    epoch = sum(pipeline.computed(rows, recipe) for recipe, rows, _ in pipeline.rows_of_arms())
    tokens = epoch * 2 * (2 + 3 * estimate.FORWARD)
    assert found["train_seconds"] == pytest.approx(tokens * a_token, abs=0.06)
    shares = found["train_seconds_on"]
    assert shares["1"] == found["train_seconds"]
    assert shares["4"] == shares["8"] < shares["2"] < shares["1"]
    assert not found["checkpointed"]
    weights = sum(p.numel() for p in pipeline.base.model.parameters()) * 4
    assert found["train_bytes"] > weights + need.peak(found["buffer_tokens"])


def test_answers_and_scores_take_their_products_and_every_weight_a_step(tmp_path, llama_folder, monkeypatch):
    monkeypatch.setattr(estimate_answers, "products", lambda *_: 1e9)
    monkeypatch.setattr(estimate_answers, "bandwidth", lambda *_: 1e8)
    pipeline = context(tmp_path, llama_folder, generate={"samples": 20, "max_new_tokens": 6})
    count, cells = memory.parameters(pipeline.base.config), pipeline.experiment.cells()
    guess = {"device": "cpu", "token_seconds": 0.01}
    found = estimate_answers.answering(pipeline, guess)
    rows = sum(pipeline.computed(rows, recipe) for recipe, rows, _ in pipeline.rows_of_arms())
    assert found["score_seconds"] == pytest.approx(10 * 12 * rows / 24 * 0.005, abs=0.06)
    prompts = sum(len(pipeline.prompts.ids(cell, probe)) for cell in cells for probe in pipeline.probes)
    steps = 4 * 6  # 10 cells x 3 probes x 20 samples are 4 times 160 rows
    asking = estimate.LAUNCH["cpu"]  # half of two layers'
    decoding = steps * (2 * count * 160 / 1e9 + asking)
    proofs = 4 * estimate_answers.GATE_READS * (pipeline.longest_prompt * 0.005 + asking)
    assert found["generate_seconds"] == pytest.approx(decoding + prompts * 0.005 + proofs, abs=0.06)
    monkeypatch.setattr(estimate_answers, "bandwidth", lambda *_: 1e4)  # now reading the weights takes longest
    slow = estimate_answers.answering(pipeline, guess)
    reading = steps * (4 * count / 1e4 + asking)
    assert slow["generate_seconds"] == pytest.approx(reading + prompts * 0.005 + proofs, abs=0.06)


def test_choices_and_references_are_read_behind_their_prompts_in_every_cell(tmp_path, llama_folder):
    pipeline = context(tmp_path, llama_folder)
    guess = {"device": "cpu", "token_seconds": 0.01}
    without = estimate_answers.answering(pipeline, guess)["score_seconds"]
    score = {"primary": "nll", "metrics": ["nll", "nll_reference", "choice"]}
    pipeline = context(tmp_path, llama_folder, score=score)
    pipeline.probes[0] = replace(pipeline.probes[0], choices=("red", "dark blue"), answer=0)
    cells, ids = pipeline.experiment.cells(), pipeline.tokenizer.ids
    prompts = sum(len(pipeline.prompts.ids(cell, probe)) for cell in cells for probe in pipeline.probes)
    texts = [*(probe.references[0] for probe in pipeline.probes), "red", "dark blue"]
    tokens = prompts + len(cells) * sum(len(ids(text)) for text in texts)
    found = estimate_answers.answering(pipeline, guess)["score_seconds"]
    assert found - without == pytest.approx(tokens * 0.005, abs=0.01)


def test_computed_tokens_are_those_that_the_buffers_hold(tmp_path, llama_folder):
    pipeline = context(tmp_path, llama_folder)
    for recipe, rows, _ in pipeline.rows_of_arms():
        (name,) = recipe.variant.templates
        shared = max(pipeline.prompts.prefixes[name], key=len, default=())
        computed = sum(len(row.input_ids) - len(shared) for row in rows)
        assert pipeline.computed(rows, recipe) == computed
        assert pipeline.step_tokens(name) == computed / 12 * 4


def test_measured_speeds_are_of_this_world():
    cpu = torch.device("cpu")
    assert 1e8 < estimate.products(64, 256, 512, torch.float32, cpu) < 1e13
    assert 1e8 < estimate.bandwidth(cpu) < 1e12


@pytest.mark.parametrize(("free", "checkpoint"), [(40e9, 0), (3e6, 1)])
def test_a_gpus_buffers_follow_from_its_free_memory(tmp_path, llama_folder, monkeypatch, free, checkpoint):
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(free))
    pipeline = context(tmp_path, llama_folder)
    chosen = buffer_plan.gpu_buffers(pipeline.base, pipeline._work())
    need = memory.need(pipeline.base.config, torch.float32, 4, 4, "all-linear")
    assert (chosen["buffer_tokens"], bool(chosen["checkpoint"])) == need.fit(int(free), 131_072)
    assert chosen["checkpoint"] == checkpoint
    assert chosen["mixed_arms"] == 1  # side by side only where there are flash kernels
    pipeline.base.runners = [object()]
    assert buffer_plan.gpu_buffers(pipeline.base, pipeline._work())["mixed_arms"] == (
        1 if checkpoint else buffer_plan.MIXED_ARMS
    )


@pytest.mark.parametrize(("free", "most"), [(40e9, True), (5e6, False), (1e6, False)])
def test_rows_in_flight_fit_a_gpus_free_memory_and_are_no_more_than_there_are(
    tmp_path, llama_folder, monkeypatch, free, most
):
    pipeline = context(tmp_path, llama_folder, generate={"samples": 8, "max_new_tokens": 6})
    pipeline.base.device = SimpleNamespace(type="cuda")
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(free))
    chosen = planned(pipeline)
    need = memory.decoding(pipeline.base, chosen["kv_length"], chosen["prefill_tokens"])
    # Three probes, two templates and eight samples, of an arm a template and of the base, make 144 answers.
    assert (chosen["decode_rows"], chosen["prefill_tokens"]) == (144, 8192) if most else chosen["decode_rows"] < 144
    assert need.peak(chosen["decode_rows"]) <= free or chosen["decode_rows"] == 8
    assert planned(pipeline) == chosen
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(free) // 2)
    assert planned(pipeline) == chosen  # stored: what is free later changes no shape of the run


def test_slots_grow_with_a_longer_probe_and_all_other_shapes_stay(llama_folder):
    base = models.opened(llama_folder)
    first = buffer_plan.choose(base, buffer_plan.Work(2, 10.0, 96, longest_answer=60), {})
    longer = buffer_plan.choose(base, buffer_plan.Work(2, 90.0, 9, longest_answer=100), first)
    assert longer == {**first, "kv_length": 112}


def test_every_step_is_told_with_its_speed(tmp_path, llama_folder):
    told = []
    Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run", told.append).run("train")
    steps = [event for event in told if isinstance(event, Stepped)]
    assert len(steps) == 4 * 2 * 3
    assert all(event.tokens_per_second > 0 and event.steps == 6 for event in steps)
    assert [event.step.step for event in steps if event.step.arm == "plain.s1"] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_training_tells_what_was_there_before(tmp_path, llama_folder):
    told = []
    with pytest.raises(KilledError):
        Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run", killer("train", 9)).run("train")
    saved = [sorted(arm.glob("state/*.json")) for arm in (tmp_path / "run" / "train").iterdir()]
    steps = sum(int(states[-1].stem) for states in saved if states)
    assert 0 < steps <= 8
    Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run", told.append).run("train")
    progress = [event for event in told if isinstance(event, Progress) and event.stage == "train"]
    assert {event.before for event in progress} == {progress[0].done - 1}
    assert progress[0].before == steps


@pytest.mark.parametrize(
    ("recorded", "tokens", "compiled"),
    [(False, 1_999_999, False), (False, 2_000_000, True), (True, 9_999_999, False), (True, 10_000_000, True)],
)
def test_layers_are_compiled_from_fewer_tokens_on_where_turns_are_no_graphs(monkeypatch, recorded, tokens, compiled):
    told = []
    base = SimpleNamespace(run_layers=lambda compiled, checkpointed: told.append((compiled, checkpointed)))
    monkeypatch.setattr("iikata.train.recordable", lambda run: recorded)
    train._run_layers(SimpleNamespace(base=base, buffer_plan={"checkpoint": 0}), [None], tokens)
    assert told == [(False, False), (compiled, False)]
