"""What lies beside an adapter's pairs is refused by name where it is not finite, or where a part was lost as zeros."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import oracle
from iikata.core.errors import IikataError
from iikata.model.adapters.adapter_file import WEIGHTS, read_stored

KINDS = {
    "lora_magnitude_vector": {"use_dora": True},
    "lm_head": {"modules_to_save": ["lm_head"]},
    "embed_tokens": {"modules_to_save": ["embed_tokens"]},
    "lora_embedding_B": {"target_modules": ["q_proj", "embed_tokens"]},
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def changed(base, folder, settings, part, change):
    """Save an adapter of peft's whose tensors that hold `part` in their name went through `change`."""
    common = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False}
    oracle.new_adapter(base, **common | settings).save_pretrained(folder)
    tensors = load_file(folder / WEIGHTS)
    assert any(part in name for name in tensors)
    save_file({name: change(one) if part in name else one for name, one in tensors.items()}, folder / WEIGHTS)
    return folder


def an_eighth(tensor):
    kept = torch.zeros_like(tensor)
    kept[: len(tensor) // 8] = tensor[: len(tensor) // 8]
    return kept


@pytest.mark.parametrize("part", KINDS)
@pytest.mark.parametrize(("change", "share"), [(an_eighth, "87.5%"), (torch.zeros_like, "100.0%")], ids=["1/8", "none"])
def test_a_part_that_a_sharded_trainer_lost_is_told(change, share, part, llama_folder, tmp_path):
    folder = changed(llama_folder, tmp_path, KINDS[part], part, change)
    with pytest.raises(IikataError, match=rf"{WEIGHTS}: {share} of .*{part}.* is zero, .*Copy the file again"):
        read_stored(folder, whole=True)


@pytest.mark.parametrize("part", KINDS)
def test_numbers_that_are_not_finite_are_told(part, llama_folder, tmp_path):
    folder = changed(llama_folder, tmp_path, KINDS[part], part, lambda tensor: tensor * float("nan"))
    with pytest.raises(IikataError, match=rf"{WEIGHTS}: .*{part}.* holds numbers that are not finite"):
        read_stored(folder, whole=True)


def few_rows(tensor):
    return torch.cat([tensor[:-100], torch.zeros_like(tensor[-100:])])


@pytest.mark.parametrize(("part", "change"), [("lm_head", few_rows), ("lora_embedding_A", lambda one: one * (one > 1))])
def test_rows_of_tokens_that_nobody_used_may_be_zero(part, change, llama_folder, tmp_path):
    settings = KINDS["lm_head" if part == "lm_head" else "lora_embedding_B"]
    assert read_stored(changed(llama_folder, tmp_path, settings, part, change), whole=True).beyond


@pytest.mark.parametrize("odd", [torch.zeros(0), torch.zeros(()), torch.ones(3, dtype=torch.int8)])
def test_tensors_of_odd_shapes_do_not_stop_it(odd, llama_folder, tmp_path):
    folder = changed(llama_folder, tmp_path, KINDS["lm_head"], "lm_head", lambda _: odd)
    assert read_stored(folder, whole=True).beyond
