"""Adapters start as peft's do, act as the formula says, and go only where they can learn."""

import math

import pytest
import torch
from peft import set_peft_model_state_dict
from scipy.stats import kstest

import models
import oracle
from iikata.core.errors import IikataError
from iikata.model.adapters.dropout import kept, noise
from iikata.model.adapters.flat import LoraShape
from iikata.model.adapters.lora import linear_names


@pytest.fixture
def llama(llama_folder):
    return models.opened(llama_folder)


def test_initial_a_is_uniform_within_pefts_bounds_and_b_is_zero(llama_folder, llama):
    adapters = llama.adapt(16, 16, 0.0, "all-linear")
    adapters.initialise("arm", 3)
    theirs = oracle.named(oracle.new_adapter(llama_folder, r=16, target_modules="all-linear"))
    ours = adapters.weights("arm")
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    for name, tensor in ours.items():
        if name.endswith("lora_B"):
            assert not tensor.any()
            continue
        bound = 1 / math.sqrt(tensor.shape[1])  # Kaiming uniform with a = sqrt(5)
        assert tensor.abs().max() <= bound
        assert theirs[name].abs().max() <= bound
        uniform = kstest(tensor.detach().flatten().numpy(), "uniform", args=(-bound, 2 * bound))
        assert uniform.pvalue > 1e-4


def test_initial_weights_follow_from_seed_and_module_alone(llama_folder):
    first, second = models.opened(llama_folder), models.opened(llama_folder)
    some, all_ = first.adapt(4, 8, 0.0, ["v_proj"]), second.adapt(4, 8, 0.0, "all-linear")
    all_.initialise("other", 1)
    some.initialise("arm", 0)
    all_.initialise("arm", 0)
    for name, tensor in some.weights("arm").items():
        assert torch.equal(tensor, all_.weights("arm")[name])
        if name.endswith("lora_A"):
            assert not torch.equal(tensor, all_.weights("other")[name])
    starts = [tensor for name, tensor in some.weights("arm").items() if name.endswith("lora_A")]
    assert not torch.equal(starts[0], starts[1])  # a layer's own, not its neighbour's


@pytest.mark.parametrize("family", models.FAMILIES)
def test_auto_is_pefts_choice_and_all_linear_is_all_but_the_head(model_folder, family):
    for asked, peft_word in (("auto", None), ("all-linear", "all-linear")):
        ours = models.opened(model_folder(family)).adapt(4, 8, 0.0, asked)
        theirs = oracle.new_adapter(model_folder(family), r=4, target_modules=peft_word)
        assert {f"{name}.lora_A" for name in ours.layers} == {n for n in oracle.named(theirs) if n.endswith("A")}


def test_an_adapted_layer_is_w_x_plus_alpha_over_r_times_b_a_x_and_drops_inputs_in_training_alone(llama):
    adapters = llama.adapt(4, 10, 0.25, ["v_proj"])
    adapters.initialise("arm", 0)
    models.stir(adapters.weights("arm"))
    name, layer = next(iter(adapters.layers.items()))
    a, b = (adapters.weights("arm")[f"{name}.lora_{letter}"].double() for letter in "AB")
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    training = noise(1, 3, x.device)
    dropped = x * kept(training, layer.salt, 32, 0.25) / 0.75
    for stream, seen in ((None, x), (training, dropped)):
        adapters.set_adapter("arm", stream)
        wanted = x.double() @ layer.base.weight.double().T + 10 / 4 * seen.double() @ a.T @ b.T
        torch.testing.assert_close(layer(x).double(), wanted, rtol=1e-5, atol=1e-5)
    llama.set_adapter(None)
    assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize(
    ("asked", "odd"), [(["q_proj", "v_prj"], "v_prj"), (["lm_head"], "lm_head"), ([], "target_modules")]
)
def test_modules_that_do_not_exist_or_are_the_head_are_refused_with_those_there_are(llama, asked, odd):
    with pytest.raises(IikataError, match=f"{odd}.*It has: q_proj, k_proj"):
        llama.adapt(4, 8, 0.0, asked)


def test_the_head_is_not_among_the_linear_layers(llama):
    assert linear_names(llama.model) == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize("change", ["extra", "missing", "shape"])
def test_weights_of_another_model_are_refused_by_name(llama, change):
    adapters = llama.adapt(4, 8, 0.0, ["v_proj"])
    adapters.initialise("arm", 0)
    weights = {name: tensor.detach() for name, tensor in adapters.weights("arm").items()}
    name = "model.layers.1.self_attn.v_proj.lora_B"
    if change == "extra":
        name = "model.layers.2.self_attn.v_proj.lora_B"
        weights[name] = torch.zeros(1)
    elif change == "missing":
        del weights[name]
    else:
        weights[name] = torch.zeros(16, 5)
    with pytest.raises(IikataError, match=name.replace(".", r"\.")):
        adapters.load("other", weights)
    assert "other" not in adapters


def test_a_dropped_arm_is_silent_and_forgotten(llama):
    adapters = llama.adapt(4, 8, 0.0, ["v_proj"])
    adapters.initialise("arm", 0)
    llama.set_adapter("arm")
    adapters.drop("arm")
    assert "arm" not in adapters
    assert all(layer.a is None for layer in adapters.layers.values())


def test_arms_of_different_shapes_over_one_base_answer_each_as_it_would_alone(llama_folder, llama):
    """Rank, scale, modules and rsLoRA differ; alone, and mixed a token each, they give peft's logits."""
    loaded = llama
    names = ("q_proj", "v_proj", "down_proj")
    shapes = {
        "small": LoraShape(4, 8, 0.0, names),
        "wide": LoraShape(16, 16, 0.0, names),
        "few": LoraShape(4, 12, 0.0, ("v_proj",)),
        "stable": LoraShape(8, 16, 0.0, names, use_rslora=True),
    }
    adapters = loaded.adapt(4, 8, 0.0, names, shapes.values())
    for arm, shape in shapes.items():
        adapters.shapes[arm] = shape
        adapters.initialise(arm, 0)
        for name, tensor in adapters.weights(arm).items():
            with torch.no_grad():
                tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
    ids = torch.arange(5, 21).view(1, -1)
    for arm, shape in shapes.items():
        theirs = oracle.new_adapter(
            llama_folder,
            r=shape.r,
            lora_alpha=shape.alpha,
            target_modules=list(shape.target_modules),
            use_rslora=shape.use_rslora,
        )
        state = {f"base_model.model.{n}.weight": t.detach() for n, t in adapters.weights(arm).items()}
        set_peft_model_state_dict(theirs, state)
        wanted = theirs(input_ids=ids).logits
        loaded.set_adapter(arm)
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, wanted, atol=1e-5, rtol=1e-5)
        joined = adapters.join(list(shapes), torch.float32)
        adapters.set_adapter_per_token(joined, torch.full((ids.shape[1],), joined.index[arm]))
        with torch.inference_mode():
            mixed = loaded.model(input_ids=ids).logits
        torch.testing.assert_close(mixed, wanted, atol=1e-5, rtol=1e-5)
        # Beside arms of other ranks it has, bit for bit, what it has alone.
        single = adapters.join([arm], torch.float32)
        adapters.set_adapter_per_token(single, torch.full((ids.shape[1],), 0))
        with torch.inference_mode():
            assert torch.equal(loaded.model(input_ids=ids).logits, mixed)
