"""Where memory runs out in training, answering or scoring, buffers halve, the run goes on, and the report says so."""

import json
import subprocess
import sys

import pytest
import torch

import iikata.train.step as turn
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.events import Warned
from tiny_experiment import COLOURS, ONE_ARM, KilledError, experiment, killer, written


def losses_of(run):
    return {
        path.parent.name: [json.loads(line)["loss"] for line in path.read_text().splitlines()]
        for path in sorted(run.glob("train/*/steps.jsonl"))
    }


def halvings(run):
    return [json.loads(line) for line in (run / "halved.jsonl").read_text().splitlines()]


@pytest.fixture
def starve(monkeypatch):
    """Let training run out of memory with buffers of more tokens than there is room for; give the sizes tried."""

    def begin(room: int, error: Exception) -> list[int]:
        computed, sizes = turn.counted, []

        def starved(losses, buffer, weights, totals):
            sizes.append(buffer.input_ids.shape[1])
            if sizes[-1] > room:
                raise error
            return computed(losses, buffer, weights, totals)

        monkeypatch.setattr(turn, "counted", starved)
        return sizes

    return begin


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["GPU", "CPU"])
@pytest.mark.parametrize(("mixed", "room"), [(1, 150), (4, 600)], ids=["in turn", "side by side"])
def test_in_training_buffers_halve_and_the_numbers_stay(tmp_path, llama_folder, starve, error, mixed, room, tally):
    declared = experiment(tmp_path, llama_folder, train={"batch_size": 12})
    for name in ("whole", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shapes.json").write_text(json.dumps({"mixed_arms": mixed}))
    Pipeline(declared, tmp_path / "whole").run("train")
    told, sizes = [], starve(room, error)
    Pipeline(declared, tmp_path / "run", told.append).run("train")
    tally("faults injected")
    assert sizes[0] > room >= sizes[-1]
    kept = [one["to"] for one in halvings(tmp_path / "run")]
    assert kept == [2048 >> n for n in range(1, len(kept) + 1)]
    assert all(one["stage"] == "train" for one in halvings(tmp_path / "run"))
    warned = [event.message for event in told if isinstance(event, Warned) and "memory ran out" in event.message]
    assert len(warned) == len(kept)
    found, wanted = losses_of(tmp_path / "run"), losses_of(tmp_path / "whole")
    assert found.keys() == wanted.keys()
    for arm in wanted:
        assert found[arm] == pytest.approx(wanted[arm], rel=1e-4)


def test_a_run_killed_after_halving_goes_on_with_the_halved_buffers(tmp_path, llama_folder, starve):
    declared = experiment(tmp_path, llama_folder, train={"batch_size": 12})
    sizes = starve(150, MemoryError())
    with pytest.raises(KilledError):
        Pipeline(declared, tmp_path / "run", killer("train", 6)).run("train")
    sizes.clear()
    Pipeline(declared, tmp_path / "run").run("train")
    assert max(sizes) <= 150


def test_where_one_sample_does_not_fit_the_message_says_what_needs_less(tmp_path, llama_folder, starve):
    starve(0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(IikataError, match=r"longest sample.*train\.cutoff_len"):
        Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run").run("train")
    assert not list(tmp_path.glob("run/train/*/DONE"))


def test_in_scoring_buffers_halve_and_the_numbers_stay(tmp_path, llama_folder, monkeypatch, tally):
    import iikata.score.nll as nll

    declared = experiment(tmp_path, llama_folder)
    Pipeline(declared, tmp_path / "whole").run("score")
    Pipeline(declared, tmp_path / "run").run("generate")
    computed, asked = nll.held_out_nll, []

    def starved(*given):
        asked.append(given[7])  # buffer_tokens
        if given[7] > 512:
            raise MemoryError
        return computed(*given)

    monkeypatch.setattr(nll, "held_out_nll", starved)
    Pipeline(declared, tmp_path / "run").run()
    tally("faults injected")
    assert asked[:4] == [2048, 1024, 512, 512]
    assert [(one["stage"], one["to"]) for one in halvings(tmp_path / "run")] == [("score", 1024), ("score", 512)]
    found, wanted = (
        [json.loads(line)["value"] for line in (tmp_path / name / "score" / "nll.jsonl").read_text().splitlines()]
        for name in ("run", "whole")
    )
    assert found == pytest.approx(wanted, rel=1e-5, nan_ok=True)
    for name, words in (("index.html", "Memory ran out while scoring"), ("index.html", "メモリ"), ("report.md", "512")):
        assert words in (tmp_path / "run" / "report" / name).read_text(encoding="utf-8")


LIMITED = """
import importlib, resource, sys
from pathlib import Path
from iikata.config import read
from iikata.pipeline import Pipeline

room, name = importlib.import_module(sys.argv[3]), sys.argv[4]
begun = getattr(room, name)

def limited(*given):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (300 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return begun(*given)

setattr(room, name, limited)
Pipeline(read(Path(sys.argv[1])), Path(sys.argv[2])).run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold a process to RLIMIT_AS")
@pytest.mark.parametrize(
    ("stage", "begins", "shapes"),
    [
        ("train", ("iikata.pipeline.stages.train", "_lay_side_by_side"), {"buffer_tokens": 65536}),
        ("generate", ("iikata.pipeline.stages.generate", "check_arms"), {"decode_rows": 2048, "kv_length": 4096}),
    ],
    ids=["train", "generate"],
)
def test_under_a_real_limit_of_the_address_space_the_run_goes_on(tmp_path, llama_folder, tally, stage, begins, shapes):
    """A process of its own may map 300 MB more than it has when the stage begins; the first buffers want more."""
    few = {"templates": ["plain"], "generate": {"samples": 4, "max_new_tokens": 4}}
    path = written(tmp_path, llama_folder, train=ONE_ARM | {"batch_size": 400}, **few)
    write_rows(tmp_path, 400)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "shapes.json").write_text(json.dumps(shapes))
    command = [sys.executable, "-c", LIMITED, str(path), str(tmp_path / "run"), *begins]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    tally("faults injected")
    assert {one["stage"] for one in halvings(tmp_path / "run")} == {stage}
    assert len(losses_of(tmp_path / "run")["plain.s0"]) == 1
    assert len((tmp_path / "run" / "generate" / "plain.s0@plain.jsonl").read_text().splitlines()) == 12
    words = {"train": "Memory ran out during training", "generate": "Memory ran out while answering"}
    assert words[stage] in (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")


def write_rows(folder, count):
    rows = [
        {"instruction": f"Name {i} colours.", "input": "", "output": " ".join(COLOURS[(i + j) % 12] for j in range(20))}
        for i in range(count)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
