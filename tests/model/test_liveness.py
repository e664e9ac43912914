"""A dead part of an adapter is found whatever shard, layer or module it is, and a live one is not taken for dead."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
import oracle
from iikata.model.adapters import adapter_file
from iikata.model.adapters.adapter_file import WEIGHTS
from iikata.model.adapters.liveness import effects, faults, liveness, still

NAME = "base_model.model.model.layers.{}.{}.lora_{}.weight"


@pytest.fixture
def adapter(llama_folder, tmp_path):
    """A folder with a live adapter of rank 4 on all linear layers; fourteen modules."""
    model = oracle.new_adapter(llama_folder, r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    model.save_pretrained(tmp_path)
    return tmp_path


def harmed(folder, change):
    found = load_file(folder / WEIGHTS)
    change(found)
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / WEIGHTS)
    return [fault.en for fault in faults(liveness(adapter_file.read_stored(folder)))]


def zero(side, layer, rows=slice(None), columns=slice(None)):
    def change(found):
        for name, tensor in found.items():
            if f"lora_{side}" in name and f".layers.{layer}" in name:
                tensor[rows, columns] = 0

    return change


def test_a_live_adapter_has_no_fault_and_its_norms_are_those_of_the_product(adapter):
    stored = adapter_file.read_stored(adapter)
    found = liveness(stored)
    assert len(found) == 14
    assert faults(found) == []
    one = found[0]
    a, b = (stored.weights[f"{one.module}.lora_{side}"] for side in "AB")
    assert one.norm_b == pytest.approx(float(b.norm()))
    assert one.norm_update == pytest.approx(float((2 * b @ a).norm()), rel=1e-5)


def test_one_live_layer_of_two_is_told_with_its_share(adapter):
    (said,) = harmed(adapter, zero("B", 1))
    assert "7 of 14 modules (50%) are dead" in said
    assert "model.layers.1." in said
    assert "model.layers.0." not in said


def test_an_a_that_is_zero_is_as_dead(adapter):
    (said,) = harmed(adapter, zero("A", 0))
    assert "7 of 14 modules (50%) are dead" in said


@pytest.mark.parametrize("side", "AB")
def test_an_adapter_that_is_dead_everywhere_equals_the_base(adapter, side):
    assert harmed(adapter, zero(side, "")) == [
        f"every lora_{side} is zero, so the adapter would answer exactly as the untuned base does"
    ]


def shard_of_b(found):
    name = NAME.format(0, "mlp.up_proj", "B")
    found[name][found[name].shape[0] // 2 :] = 0


def shard_of_a(found):
    found[NAME.format(0, "mlp.down_proj", "A")][:, 24:] = 0


def ranks_of_a(found):
    found[NAME.format(1, "self_attn.q_proj", "A")][1:] = 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shard_of_b, "50.0% of B's rows are zero in model.layers.0.mlp.up_proj"),
        (shard_of_a, "50.0% of A's columns are zero in model.layers.0.mlp.down_proj"),
        (ranks_of_a, "75.0% of A's rows are zero in model.layers.1.self_attn.q_proj"),
    ],
)
def test_a_shard_that_is_missing_is_named_with_its_share(adapter, change, said):
    (found,) = harmed(adapter, change)
    assert "1 of 14 modules (7%) are dead in part" in found
    assert found.endswith(said)


@pytest.mark.parametrize("world", [2, 8, 64])
def test_one_missing_shard_of_many_is_found_and_a_few_zero_rows_are_not_one(world):
    b = torch.ones(4096, 4)
    one = stored_of(b)
    assert faults(liveness(one)) == []
    b[: 4096 // world] = 0
    assert liveness(stored_of(b))[0].torn
    b[:] = 1
    b[100:105] = 0
    found = liveness(stored_of(b))
    assert found[0].zero_rows > 0
    assert faults(found) == []


def test_ranks_that_were_filled_up_with_zeros_are_not_dead():
    b, a = torch.ones(64, 4), torch.ones(4, 64)
    b[:, 2:], a[2:] = 0, 0
    assert faults(liveness(stored_of(b, a))) == []


def test_factors_whose_product_is_zero_are_dead_though_neither_is():
    b, a = torch.zeros(64, 2), torch.zeros(2, 64)
    b[:, 0], a[1] = 1, 1
    assert liveness(stored_of(b, a))[0].dead


def stored_of(b, a=None):
    config = adapter_file.AdapterConfig(r=b.shape[1], lora_alpha=4, target_modules=["up"])
    a = torch.ones(b.shape[1], 64) if a is None else a
    return adapter_file.Stored(None, config, {"up.lora_A": a, "up.lora_B": b})


def test_a_module_that_the_base_never_calls_need_not_be_live():
    found = liveness(stored_of(torch.zeros(64, 4)))
    assert faults(found)
    assert faults(found, idle={"up"}) == []


def test_effects_are_the_shares_by_which_each_layer_moves(llama_folder):
    loaded = models.opened(llama_folder)
    adapters = loaded.adapt(4, 8, 0.0, ["q_proj"])
    adapters.initialise("arm", 0)
    ids = models.samples(1, longest=20)[0].input_ids
    untouched, _ = effects(loaded, "arm", [ids])
    assert untouched == dict.fromkeys(adapters.layers, 0.0)
    assert "2 of 2 modules change nothing" in still(untouched)[0].en
    models.stir(adapters.weights("arm"))
    moved, _ = effects(loaded, "arm", [ids])
    assert still(moved) == []
    name, layer = next(iter(adapters.layers.items()))
    weights = adapters.weights("arm")
    seen = []
    handle = layer.register_forward_hook(lambda layer, args, out: seen.append(args[0]))
    with torch.no_grad():
        loaded.hidden(torch.tensor([ids]), torch.arange(len(ids))[None])
    handle.remove()
    x, weights = seen[0][0], {name: tensor.detach() for name, tensor in weights.items()}
    update = 2 * x @ weights[f"{name}.lora_A"].T @ weights[f"{name}.lora_B"].T
    assert moved[name] == pytest.approx(float(update.norm() / layer.base(x).norm()), rel=1e-4)
