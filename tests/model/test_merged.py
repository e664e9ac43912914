"""What the engine cannot hold is merged by peft, and answers as peft's unmerged model; what is not exact is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
import oracle
from iikata.core.errors import IikataError
from iikata.model.adapters import adapter_file
from iikata.model.adapters.adapter_file import CONFIG, WEIGHTS
from iikata.model.adapters.merge import merge
from iikata.model.adapters.merged import merged_base
from tokenizer_folders import byte_bpe

IDS = torch.tensor([[5, 4, 9, 33, 12, 70, 8, 4]])
KINDS = {
    "DoRA": {"use_dora": True},
    "DoRA with patterns": {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 3}},
    "head": {"modules_to_save": ["lm_head"]},
    "embedding": {"modules_to_save": ["embed_tokens"]},
    "both ends": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "norm": {"modules_to_save": ["norm"]},
    "tokens": {"trainable_token_indices": [4, 9]},
    "all biases": {"bias": "all"},
    "biases of its layers": {"bias": "lora_only"},
    "adapter on the embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "adapter on the head": {"target_modules": ["q_proj", "lm_head"]},
    "DoRA on the embedding": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def saved(base, folder, **settings):
    """Save an adapter of peft's in which all that it trains has random values; return peft's model."""
    torch.manual_seed(1)
    common = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    model = oracle.new_adapter(base, **common | settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model


def logits(base):
    with torch.no_grad():
        return base.logits(base.hidden(IDS, torch.arange(IDS.shape[1])[None]))[0]


def merged(base, adapter):
    return merged_base(base, adapter, torch.device("cpu"))


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # ends of their own, no biases; one tensor for both ends, biases
@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_it_answers_as_pefts_unmerged_model(settings, family, model_folder, tmp_path):
    base = model_folder(family)
    saved(base, tmp_path, **settings)
    stored = adapter_file.read_stored(tmp_path, whole=True)
    stored.refuse_inexact()
    assert stored.beyond or (settings.get("bias") and family == "llama")
    unmerged = oracle.with_adapter(base, tmp_path)
    with torch.no_grad():
        theirs = unmerged(input_ids=IDS).logits[0]
        untuned = oracle.plain(base)(input_ids=IDS).logits[0]
    ours = logits(merged(base, tmp_path))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert oracle.distance(untuned, theirs) > 1e-2


RESIZED = {
    "DoRA": {"use_dora": True},
    "both ends trained whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "the new tokens trained": {"trainable_token_indices": [models.VOCAB, models.VOCAB + 1]},
}


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("settings", RESIZED.values(), ids=RESIZED)
def test_resized_embeddings_come_with_their_rows(settings, family, model_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    base = model_folder(family)
    model = oracle.plain(base)
    model.resize_token_embeddings(models.VOCAB + 3)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], **settings)).eval()
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(tmp_path, save_embedding_layers=True)
    ids = torch.tensor([[5, models.VOCAB + 1, 9]])
    ours = merged(base, tmp_path)
    with torch.no_grad():
        theirs = tuned(input_ids=ids).logits[0]
        found = ours.logits(ours.hidden(ids, torch.arange(3)[None]))[0]
    assert found.shape == (3, models.VOCAB + 3)
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)


def change(folder, copy, **settings):
    shutil.copytree(folder, copy)
    config = json.loads((copy / CONFIG).read_text())
    (copy / CONFIG).write_text(json.dumps(config | settings))
    return copy


REFUSED = {
    "layer_replication": ([[0, 1], [0, 2]], "layers used more than once"),
    "lora_bias": (True, "a bias in the adapter"),
    "init_lora_weights": ("pissa", "a start that changes the base's weights too"),
    "target_parameters": (["mlp.experts.gate_up_proj"], "adapters on bare parameters"),
    "alora_invocation_tokens": ([1, 2], "an adapter that acts from some token on"),
    "peft_type": ("IA3", "another kind of adapter"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_peft_would_not_merge_exactly_is_refused_by_name(key, llama_folder, tmp_path):
    saved(llama_folder, tmp_path / "whole", use_dora=True)
    value, said = REFUSED[key]
    odd = change(tmp_path / "whole", tmp_path / "odd", **{key: value})
    with pytest.raises(IikataError, match=rf'"{key}" is .*\({said}'):
        adapter_file.read_stored(odd, whole=True).refuse_inexact()


def test_tensors_that_peft_would_pass_over_in_silence_are_told(llama_folder, tmp_path):
    saved(llama_folder, tmp_path, modules_to_save=["norm"])
    tensors = load_file(tmp_path / WEIGHTS)
    name = next(name for name in tensors if "norm" in name)
    save_file({**tensors, name.replace("norm", "value_head"): tensors[name].clone()}, tmp_path / WEIGHTS)
    with pytest.raises(IikataError, match=r"value_head.weight has no place in this base .*1 such tensors"):
        merged(llama_folder, tmp_path)
    save_file({other: one for other, one in tensors.items() if other != name}, tmp_path / WEIGHTS)
    with pytest.raises(IikataError, match=r"adapter_model.safetensors: .*norm.weight is not there"):
        merged(llama_folder, tmp_path)


def test_rows_of_one_end_alone_are_refused(llama_folder, tmp_path):
    saved(llama_folder, tmp_path, modules_to_save=["embed_tokens"])
    tensors = load_file(tmp_path / WEIGHTS)
    name = next(name for name in tensors if "embed_tokens" in name)
    save_file({**tensors, name: torch.cat([tensors[name], torch.ones(2, 32)])}, tmp_path / WEIGHTS)
    with pytest.raises(IikataError, match=r"770 embeddings, where the base has 768, .* 770 going in, none coming out"):
        merged(llama_folder, tmp_path)


def test_over_a_base_of_another_size_the_first_tensor_that_does_not_fit_is_named(llama_folder, tmp_path):
    from transformers import LlamaConfig

    saved(llama_folder, tmp_path / "adapter", use_dora=True)
    other = LlamaConfig(**models.shape(num_key_value_heads=2) | {"hidden_size": 64})
    wide = models.write(tmp_path / "wide", other, byte_bpe)
    with pytest.raises(IikataError, match=r"cannot lay it over this base: .*q_proj.lora_A.*\[4, 32\]\).*own base"):
        merged(wide, tmp_path / "adapter")


def test_a_merge_that_moves_the_logits_is_refused(llama_folder, tmp_path, monkeypatch):
    saved(llama_folder, tmp_path, use_dora=True)
    monkeypatch.setattr("peft.tuners.lora.layer.Linear.merge", lambda self, *args, **more: None)
    with pytest.raises(IikataError, match=r"its logits move by .* of their size"):
        merged(llama_folder, tmp_path)


@pytest.mark.parametrize("kind", ["DoRA", "head", "embedding", "tokens", "adapter on the embedding"])
def test_written_out_it_is_a_model_that_gives_the_same_logits(kind, model_folder, tmp_path):
    base = model_folder("qwen2")  # its ends share one tensor, and must not once one of them is another
    saved(base, tmp_path / "adapter", **KINDS[kind])
    moved = merge(base, tmp_path / "adapter", tmp_path / "dest", [IDS[0].tolist()], whole=True)
    assert moved < 1e-4
    with torch.no_grad():
        theirs = oracle.with_adapter(base, tmp_path / "adapter")(input_ids=IDS).logits[0]
        found = oracle.plain(tmp_path / "dest")(input_ids=IDS).logits[0]
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)
