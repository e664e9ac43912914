"""No adapter is believed before it is proved live: each way to lose one is caught by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from iikata.core.records import Arm, TrainStep
from iikata.doctor import distinct_templates, sound_training
from iikata.pipeline import Pipeline
from iikata.pipeline.bringing import prove
from iikata.pipeline.gates import check_arms
from iikata.templates import TEMPLATES, saved
from tiny_experiment import experiment

ARM = Arm("plain", 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, llama_folder) -> Path:
    """A folder with one trained arm in run/; tests copy it."""
    folder = tmp_path_factory.mktemp("trained")
    Pipeline(experiment(folder, llama_folder, templates=["plain"], train={"seeds": [0]}), folder / "run").run("train")
    return folder


@pytest.fixture
def pipeline(trained, tmp_path, llama_folder):
    """The materials of a copy, and the arm's folder to do harm in."""
    shutil.copytree(trained, tmp_path / "copy")
    declared = experiment(tmp_path / "copy", llama_folder, templates=["plain"], train={"seeds": [0]})
    context = Pipeline(declared, tmp_path / "copy" / "run").context
    return context, context.store.arm(ARM)


def kept(context):
    return next(gate for gate in check_arms(context) if gate.name == "template_kept")


def test_a_trained_adapter_is_live_and_the_evidence_is_printed(pipeline):
    context, _ = pipeline
    gate = prove(context, ARM, context.store.arm(ARM))
    assert gate.passed
    assert "||B|| = " in gate.detail
    assert "KL to the base" in gate.detail
    assert kept(context).passed


def test_an_emptied_adapter_is_caught_by_name(pipeline):
    """The post's script saved no tensors, and nothing complained."""
    context, folder = pipeline
    save_file({}, folder / "adapter_model.safetensors")
    gate = prove(context, ARM, context.store.arm(ARM))
    assert (gate.name, gate.subject, gate.passed) == ("live_adapter", "plain.s0", False)
    assert "adapter_model.safetensors" in gate.detail
    assert "empty" in gate.detail


def test_an_adapter_whose_b_is_zero_is_caught(pipeline):
    context, folder = pipeline
    path = folder / "adapter_model.safetensors"
    dead = {name: torch.zeros_like(w) if "lora_B" in name else w for name, w in load_file(path).items()}
    save_file(dead, path)
    gate = prove(context, ARM, context.store.arm(ARM))
    assert not gate.passed
    assert "||B|| = 0" in gate.detail


def test_an_adapter_that_moves_no_answer_is_caught_though_every_part_of_it_is_there(pipeline):
    context, folder = pipeline
    path = folder / "adapter_model.safetensors"
    save_file({name: w * 1e-5 if "lora_B" in name else w for name, w in load_file(path).items()}, path)
    gate = prove(context, ARM, context.store.arm(ARM))
    assert not gate.passed
    assert "dead" not in gate.detail
    assert "change nothing" not in gate.detail


def test_an_adapter_of_which_one_layer_is_dead_is_caught_with_its_share(pipeline):
    """The loss of such a one fell by 73%, so that nothing else would tell."""
    context, folder = pipeline
    path = folder / "adapter_model.safetensors"
    half = {n: torch.zeros_like(w) if "layers.1." in n and "lora_B" in n else w for n, w in load_file(path).items()}
    save_file(half, path)
    gate = prove(context, ARM, context.store.arm(ARM))
    assert not gate.passed
    assert "7 of 14 modules (50%) are dead (B or A is zero): model.layers.1." in gate.detail


def test_an_adapter_of_which_a_shard_is_missing_is_caught_with_its_share(pipeline):
    context, folder = pipeline
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    for name, tensor in weights.items():
        if "lora_B" in name:
            tensor[len(tensor) // 2 :] = 0
    save_file(weights, path)
    gate = prove(context, ARM, context.store.arm(ARM))
    assert not gate.passed
    assert "14 of 14 modules (100%) are dead in part" in gate.detail
    assert "50.0% of B's rows are zero" in gate.detail


def test_an_adapter_that_lacks_a_module_is_caught(pipeline):
    context, folder = pipeline
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    gone = next(name for name in weights if "lora_B" in name)
    save_file({name: w for name, w in weights.items() if name != gone}, path)
    assert not prove(context, ARM, context.store.arm(ARM)).passed


def test_a_truncated_file_is_caught_by_name(pipeline):
    context, folder = pipeline
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    gate = prove(context, ARM, context.store.arm(ARM))
    assert not gate.passed
    assert "adapter_model.safetensors: truncated" in gate.detail


def test_a_swapped_template_is_caught_by_name(pipeline):
    context, folder = pipeline
    (folder / "template.json").write_text(saved(TEMPLATES["alpaca"]), encoding="utf-8")
    gate = kept(context)
    assert (gate.subject, gate.passed) == ("plain.s0", False)
    assert TEMPLATES["alpaca"].hash[:12] in gate.detail
    assert TEMPLATES["plain"].hash[:12] in gate.detail


def test_a_stored_template_edited_by_one_letter_is_caught(pipeline):
    context, folder = pipeline
    path = folder / "template.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "prompt_no_input": content["prompt_no_input"] + " "}), encoding="utf-8")
    assert not kept(context).passed


def test_one_template_under_two_names_is_told():
    found = {gate.subject: gate.passed for gate in distinct_templates({"a": [[1, 2]], "b": [(1, 2)], "c": [[1, 3]]})}
    assert found == {"a|b": False, "a|c": True, "b|c": True}


@pytest.mark.parametrize(
    ("losses", "passed"),
    [
        ([2.0, 1.5] * 8, True),
        ([1.0] * 8 + [1.2] * 8, True),  # little to learn: batches differ
        ([1.0] * 8 + [1.3] * 8, False),
        ([0.8, 1.5], True),  # two batches, the last of one row
        ([2.0, float("nan")], False),
        ([], False),
    ],
)
def test_a_training_is_sound_unless_its_loss_grows_or_is_no_number(losses, passed):
    steps = [TrainStep("a.s0", n, loss, 1e-4, 1.0, 9, 9) for n, loss in enumerate(losses, start=1)]
    assert sound_training("a.s0", steps).passed == passed
