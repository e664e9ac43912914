"""Adapters on disk are peft's; tests/faults/test_garbage_adapters.py tries what is none."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
import oracle
from iikata.core.errors import IikataError
from iikata.model.adapters import adapter_file
from iikata.model.adapters.adapter_config import AdapterConfig, read_config
from iikata.model.adapters.adapter_file import CONFIG, WEIGHTS
from iikata.model.adapters.lora import linears_of

SAMPLE = models.samples(1, longest=20)[0]


def logits(loaded, arm):
    ids = torch.tensor([SAMPLE.input_ids])
    with torch.no_grad():
        loaded.set_adapter(arm)
        return loaded.logits(loaded.hidden(ids, torch.arange(ids.shape[1])[None])[0])


def live(folder, dtype="float32"):
    loaded = models.opened(folder, dtype)
    loaded.adapt(4, 8, 0.0, "all-linear").initialise("arm", 0)
    models.stir(loaded.adapters.weights("arm"))
    return loaded


@pytest.fixture
def saved(llama_folder, tmp_path):
    """A folder with a whole adapter."""
    return oracle.save_adapter(live(llama_folder), "arm", tmp_path)


def test_a_run_folder_in_an_adapters_place_is_answered_with_one_of_its_adapters(tmp_path):
    inner = tmp_path / "run" / "train" / "alpaca.s0"
    inner.mkdir(parents=True)
    (inner / CONFIG).write_text("{}")
    with pytest.raises(IikataError, match=f"holds no adapter. Give one that does, as {inner}"):
        read_config(tmp_path / "run")


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


KINDS = {
    "plain": {"target_modules": ["v_proj"]},
    "rslora": {"target_modules": ["v_proj", "q_proj"], "use_rslora": True},
    "alpha no whole number": {"target_modules": ["v_proj"], "lora_alpha": 2.5},
    "all": {"target_modules": "all-linear"},
    "expression": {"target_modules": r".*layers\.1\..*(q_proj|down_proj)"},
    "patterns": {
        "target_modules": ["q_proj", "v_proj", "up_proj"],
        "rank_pattern": {r"layers\.1\..*q_proj": 7, "v_proj": 2},
        "alpha_pattern": {"up_proj": 3, "model.layers.0.self_attn.q_proj": 11},
    },
    "patterns of rslora": {"target_modules": ["q_proj", "up_proj"], "rank_pattern": {"up_proj": 6},
                           "alpha_pattern": {"q_proj": 5}, "use_rslora": True},
    "one layer": {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": [1]},
    "one layer of a pattern": {"target_modules": ["k_proj"], "layers_to_transform": 0, "layers_pattern": "layers"},
    "all but some": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*\.0\..*v_proj"},
}  # fmt: skip


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_an_adapter_saved_by_peft_itself_gives_its_logits(settings, llama_folder, tmp_path):
    model = oracle.new_adapter(llama_folder, **{"r": 4, "lora_alpha": 8, "init_lora_weights": False} | settings)
    model.save_pretrained(tmp_path)
    weights, shape = adapter_file.read(tmp_path)
    loaded = models.opened(llama_folder)
    loaded.adapt(shape.r, shape.alpha, 0.0, shape.target_modules)
    loaded.adapters.shapes["arm"] = shape
    loaded.adapters.load("arm", weights)
    with torch.no_grad():
        theirs = oracle.logits(model, SAMPLE)
        with model.disable_adapter():
            assert oracle.distance(theirs, oracle.logits(model, SAMPLE)) > 1e-3
        assert oracle.distance(logits(loaded, "arm"), theirs) < 1e-5


NAMES = [f"model.layers.{n}.{part}" for n in (0, 1, 11) for part in ("self_attn.q_proj", "mlp.experts.3.up_proj")]
TARGETS = [
    *(
        {"target_modules": ["q_proj"]},
        {"target_modules": ["proj"]},
        {"target_modules": ["self_attn.q_proj", "up_proj"]},
    ),
    {"target_modules": ["model.layers.1.self_attn.q_proj"], "layers_to_transform": [0]},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1, 3]},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [3], "layers_pattern": ["experts"]},
    {"target_modules": ["q_proj"], "layers_to_transform": 11, "layers_pattern": ["h", "layers"]},
    *({"target_modules": r".*\.1\..*"}, {"target_modules": r"model\.layers\.1"}),
    {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["3.up_proj"]},
    {"target_modules": r".*proj", "exclude_modules": r".*\.11\..*"},
]


@pytest.mark.parametrize("settings", TARGETS, ids=str)
def test_what_is_a_target_is_what_peft_says(settings):
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    ours = AdapterConfig(r=1, lora_alpha=1, **settings)
    theirs = [bool(check_target_module_exists(LoraConfig(**settings), name)) for name in NAMES]
    assert [ours.targets(name) for name in NAMES] == theirs


def test_modules_of_the_base_that_the_configuration_names_and_the_file_lacks_are_told(llama_folder, tmp_path):
    model = oracle.new_adapter(llama_folder, r=4, target_modules=r".*layers\..*q_proj", init_lora_weights=False)
    model.save_pretrained(tmp_path)
    kept = load_file(tmp_path / WEIGHTS)
    save_file({name: tensor for name, tensor in kept.items() if ".1." not in name}, tmp_path / WEIGHTS)
    names = [name for name, _ in linears_of(models.opened(llama_folder).model)]
    with pytest.raises(IikataError, match=r"name 2 modules .* 1 of them .* first is model.layers.1.self_attn.q_proj"):
        adapter_file.read_stored(tmp_path).refuse_misfit(names)


@pytest.mark.parametrize(
    "change",
    [{"a_flag_of_tomorrows_peft": True}, {"init_lora_weights": "mica"}, {"velora_config": {"scale": 1.0}}],
)
def test_what_may_change_the_tensors_meaning_is_refused_by_name_though_peft_may_not_have_it_yet(saved, change):
    config = json.loads((saved / CONFIG).read_text())
    (saved / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(
        IikataError, match=f'"{next(iter(change))}" is .*plain LoRA, and what peft merges exactly; not this'
    ):
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
