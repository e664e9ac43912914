"""Probes and sampling may change: adapters stay, what follows from the change is made again, the old is kept aside."""

import json
import shutil
from pathlib import Path

import pytest

from iikata import doctor
from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline, Progress
from iikata.pipeline.events import Warned
from iikata.pipeline.signature import SAMPLED_BYTES, SIGNED, extend, model_fingerprint, settled
from tiny_experiment import ONE_ARM, KilledError, contents, experiment, killer, values, written


def probes(folder: Path, *changes: tuple[str, str]) -> None:
    path = folder / "probes.jsonl"
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def made(run: Path) -> dict[str, bytes]:
    """Return what follows from the experiment as it is now, with what a run keeps of its past left out."""
    found = contents(run)
    apart = ("old/", "shapes.json", "signature.json", "compare/")
    return {name: text for name, text in found.items() if not name.startswith(apart)}


def extra_probe(folder: Path) -> None:
    with (folder / "probes.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "p9", "instruction": "Which colour is rust?", "references": ["rust"]}) + "\n")


def without_first(folder: Path) -> None:
    path = folder / "probes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]), encoding="utf-8")


CHANGES = {
    "a probe's question": (lambda f: probes(f, ("is blue?", "is dark blue, of all?")), {}),
    "a probe's reference": (lambda f: probes(f, ('["blue"]', '["navy"]')), {}),
    "a probe's id": (lambda f: probes(f, ('"p1"', '"q"')), {}),
    "a probe taken out": (without_first, {}),
    "a probe more": (extra_probe, {}),
    "one out, one in": (lambda f: (without_first(f), extra_probe(f)), {}),
    "all probes": (lambda f: None, {"probes": None}),
    "longer answers": (lambda f: None, {"generate": {"samples": 2, "max_new_tokens": 30}}),
    "another temperature": (lambda f: None, {"generate": {"samples": 2, "max_new_tokens": 6, "temperature": 0.5}}),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory, llama_folder):
    """A finished run of an arm a template."""
    folder = tmp_path_factory.mktemp("small")
    Pipeline(experiment(folder, llama_folder, train=ONE_ARM), folder / "run").run("score")
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_whose_questions_changed_ends_as_a_fresh_one_with_the_same_adapters(
    small, tmp_path, llama_folder, change
):
    edit, settings = CHANGES[change]
    own, settings = shutil.copytree(small, tmp_path, dirs_exist_ok=True), {"train": ONE_ARM} | settings
    adapters = {path: path.stat().st_mtime_ns for path in own.rglob("*.safetensors")}
    before = made(own / "run")
    edit(own)
    told: list[object] = []
    Pipeline(experiment(own, llama_folder, **settings), own / "run", told.append).run("score")
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*.safetensors")} == adapters
    Pipeline(experiment(own, llama_folder, **settings), own / "fresh").run("score")
    now, fresh = made(own / "run"), made(own / "fresh")
    assert now == fresh
    aside = list((own / "run").glob("old/*"))
    assert len(aside) == (change != "a probe more")
    for folder in aside:
        kept = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jsonl")}
        assert kept == {name: before[name] for name in before if name.startswith(("generate/", "score/"))
                        and name.endswith(".jsonl")}  # fmt: skip
        assert any(str(folder) in event.message for event in told if isinstance(event, Warned))


def test_untouched_probes_keep_their_answers(own, llama_folder):
    probes(own, ("is blue?", "is navy?"))
    told: list[object] = []
    Pipeline(experiment(own, llama_folder), own / "run", told.append).run("generate")
    answered = [event for event in told if isinstance(event, Progress) and event.stage == "generate"]
    assert answered[-1].todo == 10 * 2  # cells x samples of the one probe


def test_a_killed_run_whose_probes_changed_goes_on_to_the_same_bytes(finished, tmp_path, llama_folder):
    ends = []
    for name in ("once", "killed"):
        folder = tmp_path / name
        shutil.copytree(finished, folder)
        without_first(folder)
        probes(folder, ("is blue?", "is navy?"))
        if name == "killed":
            with pytest.raises(KilledError):
                Pipeline(experiment(folder, llama_folder), folder / "run", killer("generate", 7)).run()
        Pipeline(experiment(folder, llama_folder), folder / "run").run()
        ends.append({file: text for file, text in made(folder / "run").items() if file != "experiment.yaml"})
    assert ends[0] == ends[1]


@pytest.mark.parametrize(("edit", "named"), [(without_first, "p0"), (extra_probe, "p9")])
def test_a_report_alone_refuses_probes_that_were_not_answered(own, llama_folder, edit, named):
    edit(own)
    with pytest.raises(IikataError, match=rf"other probes than the run answered \({named}\).*iikata run"):
        Pipeline(experiment(own, llama_folder), own / "run").only("report")


@pytest.mark.parametrize(
    "smaller", [{"templates": ["plain"]}, {"seeds": [1]}, {"samples": 1}], ids=["template", "seed", "sample"]
)
def test_what_is_taken_out_of_the_file_is_left_in_the_folder_and_not_read(own, llama_folder, smaller):
    changes: dict = {key: value for key, value in smaller.items() if key == "templates"}
    declared = values(llama_folder)
    for section, key in (("train", "seeds"), ("generate", "samples")):
        if key in smaller:
            changes[section] = declared[section] | smaller
    Pipeline(experiment(own, llama_folder, **changes), own / "run").run()
    Pipeline(experiment(own, llama_folder, **changes), own / "fresh").run()
    results = [json.loads((own / run / "compare" / "comparisons.json").read_text()) for run in ("run", "fresh")]
    for one in results[0]["comparisons"]:
        for key in ("changed", "first_verdict"):
            one["detail"].pop(key, None)
    assert results[0]["comparisons"] == results[1]["comparisons"]
    assert (own / "run" / "report" / "index.html").is_file()
    assert (own / "run" / "train" / "alpaca_short.s0" / "adapter_model.safetensors").is_file()


def test_a_template_only_prompted_with_may_be_edited_and_one_trained_on_may_not(tmp_path, llama_folder):
    ask = tmp_path / "ask.json"
    text = {"prompt_input": "Ask {instruction} {input}: ", "prompt_no_input": "Ask {instruction}: "}
    ask.write_text(json.dumps(text))
    small = {"templates": ["plain"], "prompt_only": ["ask.json"], "train": ONE_ARM}
    Pipeline(experiment(tmp_path, llama_folder, **small), tmp_path / "run").run()
    ask.write_text(json.dumps(text).replace("Ask", "Tell"))
    Pipeline(experiment(tmp_path, llama_folder, **small), tmp_path / "run").run()
    Pipeline(experiment(tmp_path, llama_folder, **small), tmp_path / "fresh").run()
    name = "generate/plain.s0@ask.jsonl"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    trained = small | {"templates": ["ask.json"], "prompt_only": []}
    Pipeline(experiment(tmp_path, llama_folder, **trained), tmp_path / "run").run("train")
    ask.write_text(json.dumps(text))
    with pytest.raises(IikataError, match=r"templates\.ask changed"):
        Pipeline(experiment(tmp_path, llama_folder, **trained), tmp_path / "run").run("train")


def test_weights_that_differ_behind_their_beginning_are_another_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    found = set()
    for rest in (b"\0", b"\1"):
        (tmp_path / "model.safetensors").write_bytes(bytes(SAMPLED_BYTES) + rest * 9 * SAMPLED_BYTES)
        found.add(model_fingerprint(tmp_path))
    assert len(found) == 2


def test_a_setting_that_came_later_is_signed_only_where_it_is_chosen():
    train = {"seeds": [0], "checkpoint_seconds": 60, "cutoff_len": 9, "too_long": "leave_out"}
    assert settled("train", train) == {"cutoff_len": 9}
    chosen = settled("train", {**train, "too_long": "cut_at_turn"})
    assert chosen == {"cutoff_len": 9, "too_long": "cut_at_turn"}
    before = {**{part: {} for part in SIGNED}, "train": {"cutoff_len": 9}}
    with pytest.raises(IikataError, match=r"made with something else: train\.too_long changed \(None -> cut_at_turn\)"):
        extend(before, {**before, "train": chosen}, "run")


def test_a_finished_run_proves_no_adapter_again_until_its_file_or_the_questions_change(own, llama_folder, monkeypatch):
    proved, prove = [], doctor.live_adapter
    monkeypatch.setattr(doctor, "live_adapter", lambda *of: proved.append(of[1]) or prove(*of))

    def again() -> list[str]:
        proved.clear()
        Pipeline(experiment(own, llama_folder), own / "run").run("generate")
        return sorted(proved)

    before = (own / "run" / "check" / "gates.json").read_bytes()
    assert again() == []
    assert (own / "run" / "check" / "gates.json").read_bytes() == before
    without_first(own)
    every = again()
    assert len(every) == 4
    assert again() == []
    done = json.loads((own / "run" / "check" / "proofs.json").read_text(encoding="utf-8"))
    (own / "run" / "check" / "proofs.json").write_text(json.dumps(done | {every[0]: "of another file"}))
    assert again() == every[:1]


def test_a_run_over_a_model_of_a_relative_path_goes_on_in_its_own_folder(tmp_path, llama_folder, capsys):
    shutil.copytree(llama_folder, tmp_path / "model")
    path = written(tmp_path, Path("./model"), templates=["plain"], train=ONE_ARM)
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--to", "train"]) == 0
    adapter = tmp_path / "run" / "train" / "plain.s0" / "adapter_model.safetensors"
    trained = adapter.stat().st_mtime_ns
    for _ in range(2):
        assert main(["run", str(tmp_path / "run")]) == 0
    assert adapter.stat().st_mtime_ns == trained
    assert main(["run", str(tmp_path / "run"), "--set", "train.lora.r=2"]) == 1
    assert "train.lora.r changed (4 -> 2)" in capsys.readouterr().err
    shutil.copytree(llama_folder, tmp_path / "other")
    other = tmp_path / "other" / "config.json"
    other.write_text(other.read_text() + " ")
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--set", "model.base=./other"]) == 1
    assert "model.weights changed" in capsys.readouterr().err
