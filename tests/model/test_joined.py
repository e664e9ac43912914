"""Tokens of several arms in one call get each its own arm's update and nothing of the others'."""

import pytest
import torch

import models
import oracle
from iikata.core.errors import IikataError

ARMS = ("one", "two", "three")


def adapted(folder, r=4, dtype="float64"):
    loaded = models.opened(folder, dtype)
    adapters = loaded.adapt(r, 2 * r, 0.0, "all-linear")
    for seed, arm in enumerate(ARMS):
        adapters.initialise(arm, seed)
        models.stir(adapters.weights(arm), seed)
    return loaded


def logits(loaded, ids):
    tokens = torch.tensor([ids])
    with torch.no_grad():
        return loaded.logits(loaded.hidden(tokens, torch.arange(len(ids))[None]))[0]


@pytest.mark.parametrize("r", [1, 4, 8, 11])
@pytest.mark.parametrize("family", ["llama", "neox_sequential"])
def test_every_arm_answers_as_it_does_alone(model_folder, family, r):
    loaded, ids = adapted(model_folder(family), r), (5, 9, 30, 31)
    joined = loaded.adapters.join(ARMS, torch.float64)
    found = []
    for arm in (*ARMS, None):
        loaded.set_adapter(arm)
        wanted = logits(loaded, ids)
        place = joined.index[arm] if arm else -1
        loaded.adapters.set_adapter_per_token(joined, torch.full((4,), place))
        found.append(logits(loaded, ids))
        assert oracle.distance(found[-1], wanted) < 1e-12
    assert all(oracle.distance(one, found[-1]) > 1e-3 for one in found[:-1])


def test_each_token_has_its_own_arm(llama_folder):
    loaded = adapted(llama_folder)
    layer = next(iter(loaded.adapters.layers.values()))
    x = torch.randn(7, layer.base.in_features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    arm_index = torch.tensor([0, 2, -1, 1, 1, -1, 0])
    joined = loaded.adapters.join(ARMS, torch.float64)
    with torch.no_grad():
        loaded.adapters.set_adapter_per_token(joined, arm_index)
        mixed = layer(x)
        for token, place in enumerate(arm_index.tolist()):
            loaded.set_adapter(ARMS[place] if place >= 0 else None)
            assert torch.allclose(mixed[token], layer(x)[token], rtol=1e-12, atol=1e-14)


def test_a_token_that_is_not_finite_changes_no_bit_of_the_others(llama_folder):
    loaded = adapted(llama_folder, dtype="float32")
    layer = next(iter(loaded.adapters.layers.values()))
    x = torch.randn(8, layer.base.in_features)
    loaded.adapters.set_adapter_per_token(loaded.adapters.join(ARMS, torch.float32), torch.arange(8) % 3)
    with torch.no_grad():
        clean = layer(x)
        x[3] = torch.inf
        spoilt = layer(x)
    others = [0, 1, 2, 4, 5, 6, 7]
    assert torch.equal(clean[others], spoilt[others])
    assert not spoilt[3].isfinite().any()


@pytest.mark.parametrize(("value", "kind"), [(torch.inf, torch.float32), (1e6, torch.float16)])
def test_weights_that_are_not_finite_in_the_models_type_are_refused_by_the_arms_name(llama_folder, value, kind):
    loaded = adapted(llama_folder, dtype="float32")
    with torch.no_grad():
        next(iter(loaded.adapters.weights("two").values()))[0, 0] = value
    with pytest.raises(IikataError, match="adapter two"):
        loaded.adapters.join(ARMS, kind)
    loaded.adapters.join(("one", "three"), kind)
