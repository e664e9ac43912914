"""A run goes from rows to a verdict, goes on where it was killed, grows, and refuses what was edited."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from iikata import generate
from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.data import read_probes
from iikata.generate.decoder import Decoder
from iikata.pipeline import Pipeline, Progress, buffer_plan
from iikata.pipeline.events import Warned
from iikata.run_folder import RunFolder
from iikata.templates import load
from iikata.tokenize import encode_prompt, load_tokenizer
from marks import long
from tiny_experiment import KilledError, contents, experiment, killer, values


def lines_of(run):
    files = sorted((run / "generate").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def tokens_told(run):
    """Return the tokens of every stage as the report tells them."""
    lines = [line.split(" | ") for line in (run / "report" / "report.md").read_text().splitlines()]
    return {line[0]: line[2] for line in lines if line[0].strip("| `") in ("encode", "train", "generate")}


def test_a_run_ends_with_comparisons_a_verdict_and_a_report(whole_run):
    made = json.loads((whole_run / "compare" / "comparisons.json").read_text())
    assert {c["question"] for c in made["comparisons"]} >= {"matched", "tuned_vs_base", "mismatch", "noise_floor"}
    assert made["verdict"]["sentence_en"]
    assert made["verdict"]["sentence_ja"]
    assert (whole_run / "report" / "index.html").stat().st_size > 10_000
    assert (whole_run / "report" / "report.md").is_file()


def test_every_cell_answers_every_probe_in_order(whole_run):
    cells = sorted(path.stem for path in (whole_run / "generate").glob("*.jsonl"))
    arms = ["alpaca_short.s0", "alpaca_short.s1", "plain.s0", "plain.s1", "base"]
    assert cells == sorted(f"{arm}@{template}" for arm in arms for template in ("alpaca_short", "plain"))
    for path in (whole_run / "generate").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(line["probe"], line["sample"]) for line in lines] == [(f"p{i}", s) for i in range(3) for s in range(2)]


def test_every_cell_is_asked_under_its_own_template_by_its_own_arm_with_a_stream_a_sample(
    own, llama_folder, monkeypatch
):
    asked = []

    def told(base, arms, requests, *_):
        asked.extend(requests)
        raise KilledError

    shutil.rmtree(own / "run" / "generate")
    monkeypatch.setattr(generate, "generate", told)
    with pytest.raises(KilledError):
        Pipeline(experiment(own, llama_folder), own / "run").run("generate")
    tokenizer, probes = load_tokenizer(llama_folder), {probe.id: probe for probe in read_probes(own / "probes.jsonl")}
    for request in asked:
        cell, probe, _ = request.keys[0]
        template, question = load(cell.prompted_with, own), probes[probe].instruction
        assert request.prompt_ids == tuple(encode_prompt(template, tokenizer, question))
        assert request.arm == (cell.arm.name if cell.arm.variant else None)
    assert (
        len({seed for request in asked for seed in request.seeds}) == sum(len(r.keys) for r in asked) == 5 * 2 * 3 * 2
    )


def test_each_adapter_carries_its_template(whole_run):
    stored = json.loads((whole_run / "train" / "plain.s0" / "template.json").read_text())
    assert stored["name"] == "plain"
    assert json.loads((whole_run / "train" / "plain.s0" / "adapter_config.json").read_text())["r"] == 4


def test_every_gate_of_the_sound_run_passes_for_arms_that_learned(whole_run):
    gates = json.loads((whole_run / "check" / "gates.json").read_text())
    live = [gate for gate in gates if gate["name"] == "live_adapter"]
    assert len(live) == 4
    assert all(gate["passed"] for gate in live)


@pytest.mark.parametrize(
    ("stage", "after"), [("train", 9), ("generate", 17), *long(("train", 1), ("generate", 1), ("score", 3))]
)
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, llama_folder, whole_run, stage, after):
    declared = experiment(whole_run.parent, llama_folder)
    with pytest.raises(KilledError):
        Pipeline(declared, tmp_path / "run", killer(stage, after)).run()
    Pipeline(declared, tmp_path / "run").run()
    assert contents(tmp_path / "run") == contents(whole_run)
    assert tokens_told(tmp_path / "run") == tokens_told(whole_run) != {}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["GPU", "CPU"])
def test_where_memory_runs_out_the_answers_go_on_with_fewer_rows(own, llama_folder, monkeypatch, error):
    step, calls, told = Decoder.step, [], []

    def starved(self):
        calls.append(len(self.arm_index))
        if len(self.arm_index) > 8 and len(calls) > 3:
            raise error
        return step(self)

    monkeypatch.setattr(Decoder, "step", starved)
    many = values(llama_folder)["generate"] | {"samples": 4}
    shutil.rmtree(own / "run" / "generate")
    (own / "run" / "shapes.json").unlink()  # how many rows the run decoded at once
    Pipeline(experiment(own, llama_folder, generate=many), own / "run", told.append).run("generate")
    assert (calls[0], calls[-1]) == (72, 8)
    assert [event.message for event in told if isinstance(event, Warned) and "memory" in event.message] == [
        f"memory ran out: {rows} rows in flight from now on, which may round otherwise" for rows in (32, 16, 8)
    ]
    lines = lines_of(own / "run")
    assert len({(x["trained_on"], x["seed"], x["prompted_with"], x["probe"], x["sample"]) for x in lines}) == len(lines)
    assert len(lines) == 5 * 2 * 3 * 4
    kept = [json.loads(line) for line in (own / "run" / "halved.jsonl").read_text().splitlines()]
    assert kept == [{"stage": "generate", "to": rows} for rows in (32, 16, 8)]


def test_with_no_room_for_eight_rows_the_error_is_told(own, llama_folder, monkeypatch):
    def starved(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Decoder, "step", starved)
    shutil.rmtree(own / "run" / "generate")
    with pytest.raises(IikataError, match=r"ran out in stage generate: CUDA out of memory.*same command goes on"):
        Pipeline(experiment(own, llama_folder), own / "run").run("generate")


def test_an_answer_that_is_cut_does_not_end_in_half_a_character(whole_run):
    cut = [line for line in lines_of(whole_run) if line["finish"] == "length"]
    assert len(cut) > 20
    assert not [line["text"] for line in cut if line["text"].endswith("\ufffd")]
    assert any("\ufffd" in line["text"] for line in cut)  # within it the model's own bytes are shown as they are


@pytest.mark.parametrize("columns", [1, 24])
def test_arms_that_answer_in_groups_give_the_same_bytes(tmp_path, llama_folder, whole_run, monkeypatch, columns):
    monkeypatch.setitem(buffer_plan.JOINED_COLUMNS, "cpu", columns)
    Pipeline(experiment(whole_run.parent, llama_folder), tmp_path / "run").run()
    assert contents(tmp_path / "run") == contents(whole_run)


def test_a_finished_run_does_nothing_again(tmp_path, llama_folder):
    declared = experiment(tmp_path, llama_folder, templates=["plain"])
    Pipeline(declared, tmp_path / "run").run()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("[gt]*/**/*.jsonl")}
    told = []
    Pipeline(declared, tmp_path / "run", told.append).run()
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("[gt]*/**/*.jsonl")} == before
    assert not [event for event in told if isinstance(event, Progress)]


def test_more_seeds_samples_and_probes_extend_a_run(tmp_path, llama_folder, whole_run):
    """What is finished keeps its bytes, and what is added is what a whole run would have made."""
    folder = whole_run.parent
    Pipeline(experiment(folder, llama_folder, train={"seeds": [0]}), tmp_path / "run").run("score")  # not looked at yet
    first = (tmp_path / "run" / "train" / "plain.s0" / "adapter_model.safetensors").read_bytes()
    Pipeline(experiment(folder, llama_folder), tmp_path / "run").run()
    assert (tmp_path / "run" / "train" / "plain.s0" / "adapter_model.safetensors").read_bytes() == first
    assert contents(tmp_path / "run") == contents(whole_run)


def test_a_changed_training_setting_or_row_is_refused_by_name(tmp_path, llama_folder):
    Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run").run("encode")
    with pytest.raises(IikataError, match=r"train\.learning_rate"):
        Pipeline(experiment(tmp_path, llama_folder, train={"learning_rate": 0.02}), tmp_path / "run").run("encode")
    for name in ("train", "validation"):
        path = tmp_path / f"{name}.jsonl"
        before = path.read_text()
        path.write_text(before.replace("navy", "nave"))
        with pytest.raises(IikataError, match=rf"data\.{name}"):
            Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run").run("encode")
        path.write_text(before)


def emptied(path: Path) -> None:
    save_file({name: tensor * 0 for name, tensor in load_file(path).items()}, path)


def test_an_adapter_trained_to_nothing_is_caught_by_name_and_nothing_is_concluded_from_it(tmp_path, llama_folder):
    declared = experiment(tmp_path, llama_folder)
    Pipeline(declared, tmp_path / "run").run("train")
    folder = tmp_path / "run" / "train" / "plain.s1"
    emptied(folder / "adapter_model.safetensors")
    done = json.loads((folder / "DONE").read_text())  # as if training itself had ended so
    done["files"]["adapter_model.safetensors"] = sha256_of(folder / "adapter_model.safetensors")
    (folder / "DONE").write_text(json.dumps(done))
    Pipeline(declared, tmp_path / "run").run()
    gates = json.loads((tmp_path / "run" / "check" / "gates.json").read_text())
    assert [g["subject"] for g in gates if g["name"] == "live_adapter" and not g["passed"]] == ["plain.s1"]
    scored = {(one.trained_on, one.seed) for one in RunFolder(tmp_path / "run").read_scores("nll")}
    assert ("plain", 0) in scored
    assert ("plain", 1) not in scored
    made = json.loads((tmp_path / "run" / "compare" / "comparisons.json").read_text())["comparisons"]
    matched = [c for c in made if c["question"] == "matched"]
    assert matched
    assert {c["verdict"] for c in matched if c["metric"] != "length"} == {"NOT_ASSESSABLE"}


@pytest.mark.parametrize(
    ("file", "damage"),
    [("adapter_model.safetensors", emptied), ("template.json", Path.unlink)],
    ids=["adapter edited", "template missing"],
)
def test_an_arm_that_is_not_what_was_trained_is_trained_again(tmp_path, llama_folder, whole_run, file, damage):
    declared = experiment(whole_run.parent, llama_folder)
    Pipeline(declared, tmp_path / "run").run("train")
    path = tmp_path / "run" / "train" / "plain.s1" / file
    damage(path)
    told = []
    Pipeline(declared, tmp_path / "run", told.append).run()
    (warned,) = [event.message for event in told if isinstance(event, Warned) and "again" in event.message]
    assert str(path) in warned
    assert contents(tmp_path / "run") == contents(whole_run)


def test_the_rinna_path_runs_from_rows_to_verdict(tmp_path, rinna_folder):
    """GPT-NeoX with a SentencePiece model that has no fast version."""
    declared = experiment(tmp_path, rinna_folder, templates=["rinna", "dolly_ja"])
    # The tiny vocabulary lacks letters of both templates, which the doctor rightly calls an error.
    Pipeline(declared, tmp_path / "run").run(force=True)
    assert (tmp_path / "run" / "report" / "index.html").is_file()


@pytest.fixture(scope="module")
def side_by_side(finished, llama_folder, tmp_path_factory):
    """Train four arms side by side in a folder, or once for all tests, and return what is there."""
    declared = experiment(finished, llama_folder)

    def trained(folder, *listener):
        (folder / "shapes.json").write_text(json.dumps({"mixed_arms": 4}))
        Pipeline(declared, folder, *listener).run("train")
        return contents(folder)

    whole = trained(tmp_path_factory.mktemp("whole"))
    return lambda *given: trained(*given) if given else whole


@pytest.mark.parametrize("after", [2, 4 * 6 - 2, *long(1, 3, 4, 10)])
def test_arms_side_by_side_that_are_killed_within_a_turn_lose_no_step(side_by_side, tmp_path, after):
    with pytest.raises(KilledError):
        side_by_side(tmp_path, killer("train", after))
    found, wanted = side_by_side(tmp_path), side_by_side()
    steps = [name for name in wanted if name.endswith("steps.jsonl")]
    assert len(steps) == 4
    assert found == wanted
