"""Adapters on disk are peft's; tests/faults/test_garbage_adapters.py tries what is none."""

import json

import pytest
import torch

import models
import oracle
from iikata.core.errors import IikataError
from iikata.model.adapters import adapter_file
from iikata.model.adapters.adapter_file import CONFIG, WEIGHTS
from iikata.model.load import load

SAMPLE = models.samples(1, longest=20)[0]


def logits(loaded, arm):
    ids = torch.tensor([SAMPLE.input_ids])
    with torch.no_grad():
        loaded.set_adapter(arm)
        return loaded.logits(loaded.hidden(ids, torch.arange(ids.shape[1])[None])[0])


def live(folder, dtype="float32"):
    loaded = load(folder, dtype)
    loaded.adapt(4, 8, 0.0, "all-linear").initialise("arm", 0)
    models.stir(loaded.adapters.weights("arm"))
    return loaded


@pytest.fixture
def saved(llama_folder, tmp_path):
    """A folder with a whole adapter."""
    return oracle.save_adapter(live(llama_folder), "arm", tmp_path)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_saved_adapter_gives_the_same_logits_through_plain_peft(model_folder, family, tmp_path):
    loaded = live(model_folder(family))
    oracle.save_adapter(loaded, "arm", tmp_path)
    with torch.no_grad():
        theirs = oracle.logits(oracle.with_adapter(model_folder(family), tmp_path), SAMPLE)
    assert oracle.distance(logits(loaded, "arm"), theirs) < 1e-5
    assert oracle.distance(logits(loaded, None), theirs) > 1e-2


def test_read_gives_back_what_was_saved_bit_for_bit(llama_folder, tmp_path):
    loaded = live(llama_folder)
    oracle.save_adapter(loaded, "arm", tmp_path)
    weights, shape = adapter_file.read(tmp_path)
    kept = loaded.adapters.weights("arm")
    assert set(weights) == set(kept)
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
    assert (shape.r, shape.alpha, shape.dropout) == (4, 8, 0.0)
    assert set(shape.target_modules) == set(loaded.adapters.shape.target_modules)


def test_saving_twice_writes_the_same_bytes(llama_folder, tmp_path):
    loaded = live(llama_folder)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        oracle.save_adapter(loaded, "arm", tmp_path / name)
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_adapter_saved_by_peft_itself_is_read(llama_folder, tmp_path):
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj"], "init_lora_weights": False}
    model = oracle.new_adapter(llama_folder, **settings)
    model.save_pretrained(tmp_path)
    weights, shape = adapter_file.read(tmp_path)
    loaded = load(llama_folder, "float32")
    loaded.adapt(shape.r, shape.alpha, 0.0, shape.target_modules).load("arm", weights)
    with torch.no_grad():
        assert oracle.distance(logits(loaded, "arm"), oracle.logits(model, SAMPLE)) < 1e-5


@pytest.mark.parametrize(
    "change",
    [{"a_flag_of_tomorrows_peft": True}, {"init_lora_weights": "mica"}, {"velora_config": {"scale": 1.0}}],
)
def test_what_may_change_the_tensors_meaning_is_refused_by_name_though_peft_may_not_have_it_yet(saved, change):
    config = json.loads((saved / CONFIG).read_text())
    (saved / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(IikataError, match=f'"{next(iter(change))}" is .*plain LoRA only'):
        adapter_file.read(saved)


def test_every_default_that_peft_writes_is_plain_lora_and_we_write_only_what_it_needs(saved):
    from peft import LoraConfig

    ours = json.loads((saved / CONFIG).read_text())
    assert set(ours) == {
        *("peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "lora_dropout"),
        *("target_modules", "bias", "fan_in_fan_out", "inference_mode"),
    }
    (saved / CONFIG).write_text(json.dumps(LoraConfig().to_dict() | ours, default=str))
    assert adapter_file.read(saved)[1].r == ours["r"]
