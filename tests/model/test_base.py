"""A model is loaded whole and only where its arithmetic is transformers' own; anything else is refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
from iikata.core.errors import IikataError
from iikata.model import memory
from iikata.model.files import code
from iikata.model.load import choose_dtype, load
from marks import long


def test_the_base_is_frozen_and_in_the_type_asked_for(llama_folder):
    for dtype in ("float32", "bfloat16", "float64"):
        loaded = load(llama_folder, dtype)
        assert not loaded.model.training
        assert {(p.dtype, p.requires_grad) for p in loaded.model.parameters()} == {(getattr(torch, dtype), False)}


def test_weights_that_are_missing_are_not_made_up(llama_folder, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((llama_folder / name).read_bytes())
    weights = load_file(llama_folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IikataError, match=r"lack 1 tensors.*model\.layers\.1\.mlp\.up_proj\.weight"):
        load(tmp_path, "float32")


def changed(source, folder, size=None, **changes):
    """Copy a model with other settings, and only `size` bytes of its weights."""
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:size])
    return folder


CUT = r"a \.safetensors file is cut or damaged.*Fetch the model again"
SHAPE = r"have another shape than config\.json says"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"size": 0}, CUT),
        ({"size": 50}, CUT),
        ({"size": -10}, CUT),
        ({"vocab_size": 10**13}, SHAPE),
        ({"intermediate_size": 40}, SHAPE),
        ({"num_hidden_layers": 1}, "hold 9 tensors of layers that config.json does not name.*fetch all of its files"),
        ({"num_hidden_layers": 0}, "hold 18 tensors.*fetch all of its files"),
        ({"num_hidden_layers": 3}, "lack 9 tensors.*fetch all of its files"),
    ],
)
def test_weights_that_are_cut_or_do_not_fit_the_configuration_are_refused(how, said, llama_folder, tmp_path, capsys):
    with pytest.raises(IikataError, match=said):
        load(changed(llama_folder, tmp_path, **how), "float32")
    assert "LOAD REPORT" not in capsys.readouterr().err


CONFIGS = {
    "no heads": ({"num_attention_heads": 0}, "ZeroDivisionError"),
    "heads that do not divide": ({"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
    "a width that is text": ({"hidden_size": "x"}, "expected int, got str"),
    "a width below zero": ({"hidden_size": -32}, "negative dimension"),
    "no width": ({"hidden_size": None}, "expected int, got NoneType"),
    "an unknown activation": ({"hidden_act": "evil"}, "evil"),
    "an unknown rotary": ({"rope_parameters": {"rope_type": "evil"}}, "evil"),
    "an unknown architecture": ({"model_type": "llamma"}, "llamma"),
    "an architecture that is a number": ({"model_type": 3}, "`3`"),
    "a quantisation that is text": ({"quantization_config": "x"}, "AttributeError"),
    "a text part that is none": ({"text_config": {"model_type": "x"}}, "AttributeError"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_of_which_no_model_can_be_made_is_refused(case, llama_folder, tmp_path):
    changes, said = CONFIGS[case]
    changed(llama_folder, tmp_path, **changes)
    why = rf"{tmp_path}: the model cannot be loaded: .*{said}.*Compare its config\.json"
    with pytest.raises(IikataError, match=why):
        load(tmp_path, "float32")
    with pytest.raises(IikataError, match=why):
        memory.parameters(code.configuration(tmp_path))


def test_a_quantised_base_without_bitsandbytes_says_what_to_install(llama_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(IikataError, match="pip install bitsandbytes"):
        load(llama_folder, "float32", quantize="8bit")


def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert choose_dtype("auto", cpu) == wanted
    assert choose_dtype("float16", cpu) == torch.float16


def test_an_arm_cannot_speak_where_there_are_no_adapters(llama_folder):
    loaded = load(llama_folder, "float32")
    loaded.set_adapter(None)
    with pytest.raises(KeyError):
        loaded.set_adapter("arm")


@pytest.mark.parametrize("family", ["llama", "gemma3", *long(*sorted(set(models.FAMILIES) - {"llama", "gemma3"}))])
def test_prompts_side_by_side_end_as_each_alone(model_folder, family):
    loaded = load(model_folder(family), "float64")
    prompts = [sample.input_ids for sample in models.samples(3, longest=20)]
    assert len(set(map(len, prompts))) == 3
    together = loaded.last_hidden(prompts)
    assert torch.allclose(together, torch.cat([loaded.last_hidden([one]) for one in prompts]), rtol=1e-9, atol=1e-9)
    assert loaded.untuned_next(prompts) is loaded.untuned_next(list(map(list, prompts)))
