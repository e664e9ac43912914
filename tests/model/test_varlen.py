"""The layout for flash kernels gives what transformers and peft give for each sample alone; the formula stands in."""

import pytest
import torch

import models
import oracle
from iikata.model.attention import flash
from iikata.model.attention.limits import Limits, Room
from iikata.model.attention.registry import Unsupported
from iikata.model.buffers import BUCKET, ROUND, Part, pack
from marks import long

SHARED = (5, 9, 4, 7, 30, 31, 32, 33)
OTHER = (5, 9, 4, 6)
SAMPLES = [
    *models.samples(5, prefix=SHARED),
    *models.samples(3, seed=1, prefix=OTHER),
    *models.samples(2, seed=2),
    models.sample([*SHARED, 40, 41, 2], len(SHARED)),
]
LIMITS = Limits(64, 512, 8)
FAMILIES = ("neox_sequential", "neox_parallel", "llama", "gemma")


def adapted(folder, dtype):
    loaded = models.opened(folder, dtype)
    oracle.exact_norms(loaded.model)
    adapters = loaded.adapt(4, 8, 0.0, "all-linear")
    adapters.initialise("arm", 0)
    models.stir(adapters.weights("arm"))
    return loaded


def mean_loss(loaded, buffer):
    losses = loaded.losses(buffer)
    return losses[buffer.sample_index >= 0].mean()


@pytest.mark.parametrize(
    ("family", "dtype"),  # float64 sees the smaller faults
    [
        *((family, "float64") for family in FAMILIES),
        ("llama", "float32"),
        *long(*((family, "float32") for family in FAMILIES if family != "llama")),
    ],
)
@pytest.mark.parametrize("prefixes", [(), (SHARED, OTHER)], ids=["apart", "shared"])
def test_gradients_equal_pefts_one_sample_at_a_time(model_folder, family, dtype, prefixes, tmp_path):
    loaded = adapted(model_folder(family), dtype)
    weights = loaded.adapters.weights("arm")
    loaded.set_adapter("arm")
    buffer = pack([Part(SAMPLES, prefixes)], loaded.device, LIMITS)
    assert buffer.input_ids.numel() % ROUND == 0
    loss = mean_loss(loaded, buffer)
    loss.backward()
    reference = oracle.with_adapter(model_folder(family), oracle.save_adapter(loaded, "arm", tmp_path), dtype)
    wanted = oracle.mean_loss(reference, SAMPLES)
    wanted.backward()
    bound = 1e-5 if dtype == "float32" else 1e-12
    assert oracle.distance(loss.detach(), wanted.detach()) < bound
    theirs = oracle.named(reference)
    assert max(oracle.distance(weights[name].grad, theirs[name].grad) for name in weights) < bound


def test_where_the_kernel_says_inf_for_no_shared_key_a_query_keeps_what_it_has():
    out, lse = torch.randn(3, 2, 4), torch.randn(2, 3)
    for none in (torch.inf, -torch.inf):
        merged = flash._merge(out, lse, torch.zeros_like(out), torch.full_like(lse, none))
        assert all(map(torch.equal, merged, (out, lse)))


@pytest.mark.parametrize("prefixes", [(), (SHARED, OTHER)], ids=["apart", "shared"])
@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("window", [2, 6, 9])  # shorter and longer than what is shared
def test_a_window_is_kept(model_folder, prefixes, filled, window):
    loaded = adapted(model_folder("gemma3"), "float64")
    loaded.set_adapter("arm")
    for module in loaded.model.modules():
        if getattr(module, "sliding_window", None):
            module.sliding_window = window
    weights, found = loaded.adapters.weights("arm"), []
    room = Room(512)
    room.lengths = {"5": 40, "6": 700}
    flat = pack([Part(SAMPLES, prefixes)], loaded.device, LIMITS, room=room if filled else None, window=window)
    for buffer in (flat, pack([Part(SAMPLES, ())], loaded.device)):
        for weight in weights.values():
            weight.grad = None
        loss = mean_loss(loaded, buffer)
        loss.backward()
        found.append([loss.detach(), *(weight.grad.clone() for weight in weights.values())])
    assert all(oracle.distance(ours, theirs) < 1e-5 for ours, theirs in zip(*found, strict=True))


def test_a_layer_with_a_wider_window_than_the_configurations_is_refused(model_folder):
    loaded = models.opened(model_folder("gemma3"), "float64")
    buffer = pack([Part(SAMPLES, (SHARED, OTHER))], loaded.device, LIMITS, window=5)
    with pytest.raises(Unsupported, match="a window of 6 tokens"):
        loaded.losses(buffer)


def test_what_is_filled_in_reaches_no_sample_and_an_inf_in_one_sample_no_other(llama_folder):
    loaded = models.opened(llama_folder, "float64")
    unused = max(set(range(models.VOCAB)) - {id for sample in SAMPLES for id in sample.input_ids})
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[unused] = torch.inf
    bad = models.sample([*SHARED, unused, 8, 2], len(SHARED) + 1)
    found = {}
    for name, samples in {"healthy": SAMPLES, "with one": [*SAMPLES[:3], bad, *SAMPLES[3:]]}.items():
        buffer = pack([Part(samples, (SHARED, OTHER))], loaded.device, LIMITS)
        with torch.no_grad():
            losses = loaded.losses(buffer)
        found[name] = [losses[buffer.sample_index == row] for row in range(len(samples))]
    assert not found["with one"].pop(3).isfinite().all()
    for ours, theirs in zip(found["with one"], found["healthy"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("limits", [None, LIMITS], ids=["blocks", "flash"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arms_side_by_side_in_one_buffer_have_their_own_gradients(llama_folder, limits, dtype):
    loaded = adapted(llama_folder, dtype)
    adapters = loaded.adapters
    sizes = {"a": SAMPLES, "b": SAMPLES[:4], "c": models.samples(60, seed=9, prefix=OTHER)}
    alone = {}
    for seed, (arm, samples) in enumerate(sizes.items()):
        adapters.initialise(arm, seed)
        models.stir(adapters.weights(arm), seed)
        loaded.set_adapter(arm)
        mean_loss(loaded, pack([Part(samples, (SHARED, OTHER))], loaded.device, limits)).backward()
        alone[arm] = {name: tensor.grad.clone() for name, tensor in adapters.weights(arm).items()}
    adapters.group(list(sizes))
    flat = adapters.flats_of("a")[0]
    _ = flat.gradient
    parts = [Part(samples, (SHARED, OTHER), place) for place, samples in enumerate(sizes.values())]
    buffer = pack(parts, loaded.device, limits, bucketed=True)
    assert buffer.buckets.tolist() == [0, 1, 2, 2, 2][: buffer.input_ids.numel() // BUCKET]
    adapters.set_adapter("a", buckets=buffer.buckets)
    losses = loaded.losses(buffer)
    sum(losses[(buffer.arms == arm) & (buffer.sample_index >= 0)].mean() for arm in range(3)).backward()
    bound = 1e-5 if dtype == "float32" else 1e-12
    for place, arm in enumerate(sizes):
        own = {name: leaf.grad[place] for name, leaf in flat.leaves.items()}
        assert max(oracle.distance(own[name], alone[arm][name]) for name in own) < bound
