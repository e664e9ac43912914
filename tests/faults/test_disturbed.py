"""A run goes on, or says what it cannot go on with, when an arm, a clock or a file goes astray under it."""

import json
import math
import random
import time
from dataclasses import replace

import pytest
from crash import lost

from iikata import train
from iikata.config import declare
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.pipeline import Pipeline, Stage
from iikata.pipeline.events import Warned
from tiny_experiment import contents, experiment, values, write_files


@pytest.fixture(scope="module")
def whole(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("undisturbed")
    Pipeline(experiment(folder, llama_folder), folder / "run").run()
    return folder / "run"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_arm_whose_loss_is_not_finite_stops_alone(tmp_path, llama_folder, whole, monkeypatch, value, tally):
    computed, seen = train.gradients, []

    def poisoned(step, recorded=None):
        (run,) = step.runs
        if run.arm.name == "plain.s1":
            seen.append(run.step)
            if run.step == 3:
                step = replace(step, weights=step.weights * value)
        return computed(step, recorded)

    monkeypatch.setattr(train, "gradients", poisoned)
    Pipeline(experiment(whole.parent, llama_folder), tmp_path / "run").run()
    tally("faults injected")
    assert max(seen) == 3
    done = json.loads((tmp_path / "run" / "train" / "plain.s1" / "DONE").read_text())
    assert done["stopped"].startswith("step 4: loss ")
    found, wanted = contents(tmp_path / "run"), contents(whole)
    others = [name for name in wanted if name.startswith(("train/", "generate/")) and "/plain.s1" not in name]
    assert len(others) > 20
    assert [name for name in others if found[name] != wanted[name]] == []
    made = json.loads((tmp_path / "run" / "compare" / "comparisons.json").read_text())["comparisons"]
    verdicts = {c["verdict"] for c in made if c["question"] == "matched" and c["metric"] != "length"}
    assert verdicts == {"NOT_ASSESSABLE"}


def test_clocks_that_jump_change_no_byte(tmp_path, llama_folder, whole, monkeypatch, tally):
    """The wall clock goes anywhere; the steady clock never goes back, but leaps when a machine was asleep."""
    chance, now, steady = random.Random(3), time.time, time.monotonic
    leaps = [0.0]

    def leaping():
        leaps[0] += chance.choice((0.0, 0.0, 0.0, 7200.0))
        return steady() + leaps[0]

    monkeypatch.setattr(time, "time", lambda: now() + chance.uniform(-3e8, 3e8))
    monkeypatch.setattr(time, "monotonic", leaping)
    Pipeline(experiment(whole.parent, llama_folder), tmp_path / "run").run()
    monkeypatch.undo()
    tally("faults injected")
    assert lost(tmp_path / "run", whole) == 0


@pytest.mark.parametrize(
    ("file", "named"),
    [("train.jsonl", "data.train"), ("validation.jsonl", "data.validation"), ("probes.jsonl", "probes")],
)
@pytest.mark.parametrize("change", ["edited", "gone"])
def test_a_data_file_that_changes_during_a_run_changes_nothing_and_is_named_by_the_next(
    tmp_path, llama_folder, whole, file, named, change, tally
):
    write_files(tmp_path)
    path = tmp_path / file
    before = path.read_bytes()

    def emit(event):
        if isinstance(event, Stage) and event.name == "train":
            path.write_bytes(before.replace(b"green", b"grain")) if change == "edited" else path.unlink()

    declared = experiment(tmp_path, llama_folder)
    Pipeline(declared, tmp_path / "run", emit).run()
    tally("faults injected")
    found, wanted = contents(tmp_path / "run"), contents(whole)
    apart = [name for name in wanted if found[name] != wanted[name]]
    assert set(apart) <= {"experiment.yaml"}  # it holds the folder's name
    told = []
    again = Pipeline(declare(values(llama_folder), tmp_path), tmp_path / "run", told.append)
    if (change, file) == ("edited", "probes.jsonl"):  # no adapter follows from a probe: it is answered again
        again.run()
        assert any("probe p2 edited" in event.message for event in told if isinstance(event, Warned))
    else:
        with pytest.raises(IikataError, match=named if change == "edited" else file):
            again.run()
    path.write_bytes(before)
    Pipeline(declared, tmp_path / "run").run()


def test_a_saved_state_of_other_bytes_is_told_and_not_used(tmp_path, llama_folder):
    """One number of the newest state is another: the arm goes on from before it, and ends with the same bytes."""
    few = {"templates": ["plain"], "train": {"seeds": [0]}}
    told = []

    def trained():
        pipeline = Pipeline(experiment(tmp_path, llama_folder, **few), tmp_path / "run", told.append)
        pipeline.context.keep_states = True
        pipeline.run("train")
        return (pipeline.context.store.arm(Arm("plain", 0)) / "adapter_model.safetensors").read_bytes()

    first, arm = trained(), tmp_path / "run" / "train" / "plain.s0"
    newest = max((arm / "state").glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    (arm / "DONE").unlink()
    assert trained() == first
    assert any("this saved state is damaged (other bytes than were written)" in str(event) for event in told)
