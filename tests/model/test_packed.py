"""Samples packed side by side give what transformers and peft give for each sample alone."""

import pytest
import torch

import models
import oracle
from iikata.model.base import Base
from iikata.model.buffers import Part, longest_prefix, pack, split
from marks import long
from models import sample

SHARED = (5, 9, 4, 7, 30, 31, 32, 33)
OTHER = (5, 9, 4, 6)
SAMPLES = [
    *models.samples(5, prefix=SHARED),
    *models.samples(3, seed=1, prefix=OTHER),
    *models.samples(2, seed=2),
    sample([*SHARED, 2], len(SHARED)),
    sample([*SHARED, 40, 41, 2], len(SHARED)),
]
"""Longer than the sliding windows; answers that begin right behind the shared tokens among them."""

families = pytest.mark.parametrize(
    ("family", "dtype"),  # float64 sees the smaller faults
    [
        *((family, "float64") for family in models.FAMILIES),
        ("llama", "float32"),
        *long(*((family, "float32") for family in models.FAMILIES if family != "llama")),
    ],
)
sharing = pytest.mark.parametrize("prefixes", [(), (SHARED, OTHER)], ids=["apart", "shared"])


def tolerance(family: str, dtype: str) -> float:
    # Gemma 2's only correct oracle, eager attention, computes its softmax in float32 always.
    return 1e-5 if dtype == "float32" or family == "gemma2" else 1e-12


def opened(folder, dtype: str) -> Base:
    loaded = models.opened(folder, dtype)
    oracle.exact_norms(loaded.model)
    return loaded


def adapted(folder, dtype: str) -> Base:
    loaded = opened(folder, dtype)
    adapters = loaded.adapt(4, 8, 0.0, "all-linear")
    adapters.initialise("arm", 0)
    models.stir(adapters.weights("arm"))
    return loaded


@families
@sharing
def test_packed_logits_equal_transformers_one_sample_at_a_time(model_folder, family, dtype, prefixes):
    loaded, reference = opened(model_folder(family), dtype), oracle.plain(model_folder(family), dtype)
    buffer = pack([Part(SAMPLES, prefixes)], loaded.device)
    with torch.no_grad():
        hidden = loaded.hidden(buffer.input_ids, buffer.positions, buffer.layout)[0]
        ours = loaded.logits(hidden[buffer.loss_positions])
        for index, one in enumerate(SAMPLES):
            before = [place - 1 for place, counted in enumerate(one.completion_mask) if counted]
            theirs = oracle.logits(reference, one)[before]
            assert oracle.distance(ours[buffer.sample_index == index], theirs) < tolerance(family, dtype)


@families
@sharing
def test_packed_gradients_equal_pefts_one_sample_at_a_time(model_folder, family, dtype, prefixes, tmp_path):
    loaded = adapted(model_folder(family), dtype)
    weights = loaded.adapters.weights("arm")
    loaded.set_adapter("arm")
    buffer = pack([Part(SAMPLES, prefixes)], loaded.device)
    loss = loaded.losses(buffer).mean()
    loss.backward()
    reference = oracle.with_adapter(model_folder(family), oracle.save_adapter(loaded, "arm", tmp_path), dtype)
    wanted = oracle.mean_loss(reference, SAMPLES)
    wanted.backward()
    assert oracle.distance(loss.detach(), wanted.detach()) < tolerance(family, dtype)
    theirs = oracle.named(reference)
    assert set(theirs) == set(weights)
    worst = max(oracle.distance(weights[name].grad, theirs[name].grad) for name in weights)
    assert worst < tolerance(family, dtype)


def test_a_shared_prefix_is_computed_once():
    apart, shared = (pack([Part(SAMPLES, prefixes)], torch.device("cpu")) for prefixes in ((), (SHARED, OTHER)))
    saved = len(SHARED) * (7 - 1) + len(OTHER) * (3 - 1)
    assert apart.input_ids.numel() - shared.input_ids.numel() == saved
    assert shared.targets.numel() == apart.targets.numel()


def test_a_prefix_under_the_loss_is_not_shared():
    everything = [sample(one.input_ids, 0) for one in SAMPLES]
    buffer = pack([Part(everything, (SHARED, OTHER))], torch.device("cpu"))
    assert buffer.input_ids.numel() == sum(len(one.input_ids) for one in SAMPLES)
    # Nothing predicts a sample's first token.
    assert buffer.targets.numel() == sum(len(one.input_ids) - 1 for one in SAMPLES)


def test_a_prefix_that_is_the_whole_sample_is_not_shared():
    assert longest_prefix((1, 2, 3), [(1, 2, 3), (1,), (1, 2)]) == (1, 2)
    assert longest_prefix((4, 2, 3), [(1, 2)]) == ()


def test_split_keeps_order_and_size_and_gives_a_longer_sample_its_own_buffer():
    lengths = [3, 4, 9, 2, 2, 2, 30, 1]
    rows = [sample(range(length), 1, str(index)) for index, length in enumerate(lengths)]
    parts = list(split(rows, (), 8))
    assert [[len(one.input_ids) for one in part] for part in parts] == [[3, 4], [9], [2, 2, 2], [30], [1]]
    assert [one for part in parts for one in part] == rows
