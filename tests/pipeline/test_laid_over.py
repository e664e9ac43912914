"""A run whose base lies on several devices ends with the bytes of one on one device, also after a kill."""

import json

import pytest
import torch

import oracle
from iikata.cli import main
from iikata.config import declare
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline, Told, opening
from iikata.pipeline.ask import respondents
from iikata.pipeline.executor.engage import workers
from iikata.train import ArmRun
from tiny_experiment import KilledError, contents, killer, values, write_files, written

SHAPES = ("experiment.yaml", "shapes.json")
"""What says how many devices there are, or follows from it: rows that decode together, which moves no bit on CPU."""


def declared(folder, model, stages, /, **changes):
    if not (folder / "train.jsonl").is_file():
        write_files(folder)
    settings = {"model": {"base": str(model), "dtype": "float32", "stages": stages}}
    return declare(values(model, **settings | changes), folder)


def made(run):
    return {name: content for name, content in contents(run).items() if name not in SHAPES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, deep_folder):
    folder = tmp_path_factory.mktemp("whole")
    Pipeline(declared(folder, deep_folder, 1), folder / "run").run()
    return folder / "run"


def test_a_run_over_two_devices_has_the_bytes_of_one_and_says_where_the_base_lies(whole, tmp_path, deep_folder):
    told = []
    Pipeline(declared(tmp_path, deep_folder, 2), tmp_path / "run", told.append).run()
    assert made(tmp_path / "run") == made(whole)
    (said,) = (event.message for event in told if isinstance(event, Told) and "laid over" in event.message)
    assert said.startswith("the base is laid over 2 devices, layers 0 to 3 on cpu, 4 to 4 on cpu")
    asked = []
    respondents(str(tmp_path / "run")).ask(
        "Name a colour.", "", 1, lambda key, text, finish: asked.append((key, text, finish))
    )
    ended = {key for key, _, finish in asked if finish}
    assert len(ended) == 2 * 5, "four arms and the base under two templates"


def test_an_arm_of_a_base_over_two_devices_is_merged_into_the_same_files(whole, tmp_path, deep_folder):
    Pipeline(declared(tmp_path, deep_folder, 2, templates=["plain"]), tmp_path / "run").run("train")
    for run, dest in ((whole, "one"), (tmp_path / "run", "two")):
        assert main(["export", str(run), "plain.s0", str(tmp_path / dest), "--merge"]) == 0
    one, two = (contents(tmp_path / dest)["model.safetensors"] for dest in ("one", "two"))
    assert one == two


def test_an_adapter_that_must_be_merged_is_refused_before_training_where_the_base_fits_no_device(
    tmp_path, deep_folder, monkeypatch
):
    oracle.new_adapter(deep_folder, r=2, use_dora=True).save_pretrained(tmp_path / "dora")
    theirs = {"name": "theirs", "template": "plain", "adapters": ["./dora"]}
    made = declared(tmp_path, deep_folder, "auto", templates=["plain"], variants=[theirs])
    monkeypatch.setattr("iikata.pipeline.elsewhere.devices_of", lambda *_: [torch.device("cpu")] * 2)
    with pytest.raises(IikataError, match=r"the base fits no GPU and is laid over 2.*Leave the adapter out"):
        Pipeline(made, tmp_path / "run").run("check")
    assert not list((tmp_path / "run").glob("train/*"))


def test_a_killed_run_goes_on_over_another_number_of_devices(whole, tmp_path, deep_folder):
    with pytest.raises(KilledError):
        Pipeline(declared(tmp_path, deep_folder, 3), tmp_path / "run", killer("train", 9)).run()
    states = list((tmp_path / "run" / "train").glob("*/state/*.json"))
    assert states, "no state was saved before the kill"
    Pipeline(declared(tmp_path, deep_folder, 2), tmp_path / "run").run()
    assert made(tmp_path / "run") == made(whole)


def test_arms_side_by_side_on_one_device_go_on_over_several(whole, tmp_path, deep_folder):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "shapes.json").write_text(json.dumps({"mixed_arms": 4}))
    with pytest.raises(KilledError):
        Pipeline(declared(tmp_path, deep_folder, 1), tmp_path / "run", killer("train", 9)).run("train")
    assert list((tmp_path / "run" / "train").glob("*/state/*.json")), "no state was saved before the kill"
    Pipeline(declared(tmp_path, deep_folder, 2), tmp_path / "run").run()
    assert made(tmp_path / "run") == made(whole)


def test_a_stage_that_is_never_trained_is_caught_by_its_modules_names(tmp_path, deep_folder, monkeypatch):
    """A trainer over several devices that loses a part of them: the loss falls all the same."""
    before = ArmRun.update

    def lossy(self, found, step, stage=0):
        if stage == 1:
            self.gradient(stage).zero_()
        before(self, found, step, stage)

    monkeypatch.setattr(ArmRun, "update", lossy)
    pipeline = Pipeline(declared(tmp_path, deep_folder, 2, templates=["plain"], train={"seeds": [0]}), tmp_path / "run")
    pipeline.run("generate")
    (gate,) = (gate for gate in pipeline.context.store.read_gates() if gate.name == "live_adapter")
    assert not gate.passed
    assert "7 of 35 modules" in gate.detail
    assert "model.layers.4.mlp.down_proj" in gate.detail
    assert "model.layers.3." not in gate.detail


@pytest.mark.parametrize(
    ("gigabytes", "free", "found"),
    [(137, [80] * 8, 3), (137, [80, 80, 50, 80], 4), (70, [80, 80], 2), (61, [80] * 4, 2)],
)
def test_as_few_gpus_as_hold_the_weights(gigabytes, free, found):
    assert opening.fewest(gigabytes * 10**9, [one * 10**9 for one in free]) == found


def test_the_plan_says_over_how_many_devices(tmp_path, deep_folder, capsys):
    path = str(written(tmp_path, deep_folder))
    for stages, said in ((2, "(cpu, the base laid over 2 devices)"), (1, "(cpu)")):
        assert main(["plan", path, "--set", f"model.stages={stages}"]) == 0
        out = capsys.readouterr().out
        assert f"training on this machine {said}: about" in out
        assert ("devices like this one" in out) == (stages == 1)


def test_weights_that_all_gpus_together_do_not_hold_are_refused():
    with pytest.raises(IikataError, match=r"137 GB.*2 GPUs of this machine have 80 GB free each.*model.quantize: 4bit"):
        opening.fewest(137 * 10**9, [80 * 10**9] * 2)


def gpus(monkeypatch, count, gigabytes):
    """Pretend that there are so many."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    memory = int(gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: type("", (), {"total_memory": memory}))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (memory, memory))


@pytest.mark.parametrize(
    ("share", "settings", "count"),
    [
        (0.5, {}, 1),
        (1.6, {}, 3),
        (1.6, {"devices": "1"}, 1),
        (1.6, {"devices": "cpu"}, 1),
        (1.6, {"quantize": "4bit"}, 1),
        (0.5, {"stages": 2}, 2),
        (1.6, {"stages": 1}, 1),
    ],
)
def test_a_base_is_laid_over_gpus_where_it_does_not_fit_one(share, settings, count, tmp_path, deep_folder, monkeypatch):
    weights = opening.weight_bytes(deep_folder, torch.bfloat16)
    assert weights == 2 * sum(p.numel() for p in _parameters(deep_folder))
    gpus(monkeypatch, 4, weights / share / 1e9)
    of_run = {key: value for key, value in settings.items() if key == "devices"}
    model = {"base": str(deep_folder)} | {key: value for key, value in settings.items() if key != "devices"}
    made = declared(tmp_path, deep_folder, 1, **of_run, model=model)
    assert len(opening.devices_of(made, deep_folder)) == count


def _parameters(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).parameters()


def test_more_stages_than_gpus_and_stages_in_a_cluster_are_refused_by_line(tmp_path, deep_folder, monkeypatch):
    made = declared(tmp_path, deep_folder, 8)
    gpus(monkeypatch, 4, 80)
    with pytest.raises(IikataError, match=r"model\.stages: 8 is asked for, and of GPUs this machine has 4\."):
        opening.devices_of(made, deep_folder)
    context = Pipeline(declared(tmp_path, deep_folder, 2, devices="ray"), tmp_path / "run").context
    monkeypatch.setattr("iikata.pipeline.executor.cluster.find_spec", lambda name: True)
    with pytest.raises(IikataError, match="use devices: auto"), workers(context):
        pass
