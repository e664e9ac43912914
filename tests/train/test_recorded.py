"""A turn replayed over buffers of one shape trains as one computed anew; a graph's replay is emulated by its work."""

from dataclasses import replace

import pytest
import torch

import models
from iikata.core.records import Arm
from iikata.model import rotary
from iikata.model.attention.varlen import TOKENS, Room
from iikata.model.base import Base
from iikata.model.buffers import Part
from iikata.model.layers import run_layers
from iikata.model.load import load
from iikata.train import ArmRun, TrainingArgs, recorded, train
from iikata.train.step import limits_of

PREFIX = (5, 6, 7)


def opened(folder, dropout=0.0):
    """Return a model whose layers run through runners, as on a GPU, and its adapters."""
    base = load(folder, "float64")
    rotary.install(base.model)
    base.runners = run_layers(base.model)
    return base, base.adapt(4, 8, dropout, "all-linear")


@pytest.fixture
def replays(monkeypatch):
    """Let a CPU record: what is recorded is noted, and run again to replay it."""
    made = []

    def graph(work, device):
        made.append(0)

        def replay():
            made[-1] += 1
            work()

        return replay

    monkeypatch.setattr(recorded, "graph", graph)
    monkeypatch.setattr(recorded, "worth", lambda base: True)
    return made


def trained(folder, dropout=0.0, buffer_tokens=4096):
    """Return every step's loss and norm, and the arms' weights at the end."""
    base, adapters = opened(folder, dropout)
    arms = [Arm("t", seed) for seed in range(3)]
    for arm in arms:
        adapters.initialise(arm.name, int(arm.seed))
    adapters.group([arm.name for arm in arms])
    recipe = TrainingArgs(3, 4, 1e-2, buffer_tokens=buffer_tokens)
    runs = [ArmRun(arm, models.samples(14, seed=arm.seed, prefix=PREFIX), (PREFIX,), recipe, base) for arm in arms]
    found = {(step.arm, step.step): (step.loss, step.grad_norm) for step in train(runs)}
    return found, {arm.name: adapters.weights(arm.name) for arm in arms}


def same(one, other):
    assert one[0].keys() == other[0].keys()
    for key, numbers in one[0].items():
        assert numbers == pytest.approx(other[0][key], rel=1e-9)
    for arm, weights in one[1].items():
        for name, tensor in weights.items():
            assert torch.allclose(tensor, other[1][arm][name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_replayed_turns_train_as_turns_computed_anew(llama_folder, replays, monkeypatch, dropout):
    found = trained(llama_folder, dropout=dropout)
    assert sum(replays) > 6  # of twelve turns
    monkeypatch.setattr(recorded, "worth", lambda base: False)
    same(found, trained(llama_folder, dropout=dropout))


def test_turns_of_several_buffers_are_computed_as_they_are_and_those_of_one_are_replayed(
    llama_folder, replays, monkeypatch
):
    made, pack = [], Base.pack
    monkeypatch.setattr(
        Base, "pack", lambda *args, room=None, **more: made.append(room) or pack(*args, room=room, **more)
    )
    found = trained(llama_folder, buffer_tokens=512)
    assert sum(replays) == 0
    assert len(made) > 12
    assert set(made) == {None}
    monkeypatch.setattr(recorded, "worth", lambda base: False)
    same(found, trained(llama_folder, buffer_tokens=512))


def test_a_larger_turn_is_another_graph(llama_folder, replays, monkeypatch):
    monkeypatch.setattr(Room, "MORE", 1.0)
    found = trained(llama_folder)
    monkeypatch.setattr(recorded, "worth", lambda base: False)
    same(found, trained(llama_folder))


def test_where_nothing_can_be_recorded_training_goes_on_without(llama_folder, replays, monkeypatch):
    def refused(work, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(recorded, "graph", refused)
    with pytest.warns(UserWarning, match="without a CUDA graph, which is slower: operation not permitted"):
        found = trained(llama_folder)
    monkeypatch.setattr(recorded, "worth", lambda base: False)
    same(found, trained(llama_folder))


@pytest.mark.parametrize("why", ["float16", "checkpoint", "compiled", "few steps", "several buffers", "large"])
def test_what_would_not_pay_or_not_be_the_same_is_not_recorded(llama_folder, replays, monkeypatch, why):
    base, adapters = opened(llama_folder)
    for arm in ("t.s0", "t.s1"):
        adapters.initialise(arm, 0)
    adapters.group(["t.s0", "t.s1"])
    run = ArmRun(Arm("t", 0), models.samples(14), (), TrainingArgs(3, 4, 1e-2), base)
    assert recorded.recordable(run)
    if why == "float16":
        monkeypatch.setattr(base, "dtype", torch.float16)
    elif why in ("checkpoint", "compiled"):
        base.run_layers(compiled=why == "compiled", checkpointed=why == "checkpoint")
    elif why == "few steps":
        run.step = run.steps - recorded.FEWEST_TURNS + 1
    elif why == "several buffers":
        run.args = replace(run.args, buffer_tokens=8)
    else:
        monkeypatch.setattr(recorded, "MOST_WEIGHTS", 100)
    assert not recorded.recordable(run)


def test_a_filled_buffer_gives_the_losses_and_gradients_of_its_samples(llama_folder):
    (base, adapters), room = opened(llama_folder), Room(4096)
    for seed, arm in enumerate(("a", "b")):
        adapters.initialise(arm, seed)
        models.stir(adapters.weights(arm), seed)
    adapters.group(["a", "b"])
    flat = adapters.flats_of("a")[0]

    def computed(sizes, room):
        samples = [models.samples(size, seed=size, prefix=PREFIX) for size in sizes]
        run = ArmRun(Arm("a"), samples[0] + samples[1], (PREFIX,), TrainingArgs(1, 4, 1e-2), base)
        parts = [Part(some, (PREFIX,), place, 7 + place) for place, some in enumerate(samples)]
        buffer = base.pack(parts, limits_of([run]), bucketed=True, room=room)
        flat.gradient.zero_()
        adapters.set_adapter("a", buffer.noise, buffer.buckets)
        losses = base.losses(buffer)[buffer.sample_index >= 0]
        losses.sum().backward()
        return [x.shape for x in recorded._tensors(buffer)], losses, flat.gradient.clone()

    wanted = []
    for sizes in ((30, 20), (24, 24), (3, 9)):
        shapes, losses, gradient = computed(sizes, room)
        _, alone, own = computed(sizes, None)
        assert torch.allclose(losses, alone, rtol=1e-12)
        assert torch.allclose(gradient, own, rtol=1e-9, atol=1e-12)
        wanted = wanted or shapes
        assert shapes == wanted
    assert computed((60, 60), room)[0] != wanted


def test_tokens_are_filled_up_to_a_tenth_more_within_what_is_planned():
    room = Room(2048)
    assert [room.of(TOKENS, tokens, 256) for tokens in (1000, 1100, 1500, 2000, 700, 3000)] == [
        1280, 1280, 1792, 2048, 2048, 3072,
    ]  # fmt: skip
