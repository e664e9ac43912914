"""A turn replayed over buffers of one shape trains as one computed anew; a graph's replay is emulated by its work."""

import math
from dataclasses import replace

import pytest
import torch

import models
import replayed
from iikata.core.records import Arm
from iikata.model import graphs
from iikata.model.attention.limits import TOKENS, Room
from iikata.model.base import Base
from iikata.model.buffers import Part
from iikata.train import ArmRun, TrainingArgs, recordable, step, train
from iikata.train.step import limits_of, mean_loss

PREFIX = (5, 6, 7)


@pytest.fixture
def replays(monkeypatch):
    return replayed.instead_of_graphs(monkeypatch)


def opened(folder, dropout=0.0):
    """Return a model whose layers run through runners, as on a GPU, and its adapters."""
    base = replayed.opened(folder)
    return base, base.adapt(4, 8, dropout, "all-linear")


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
        assert numbers == pytest.approx(other[0][key], rel=1e-9, nan_ok=True)
    for arm, weights in one[1].items():
        for name, tensor in weights.items():
            assert torch.allclose(tensor, other[1][arm][name], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("family", "dropout"), [("llama", 0.0), ("llama", 0.3), ("gemma3", 0.0)])
def test_replayed_turns_train_as_turns_computed_anew(model_folder, replays, monkeypatch, family, dropout):
    found = trained(model_folder(family), dropout=dropout)
    assert sum(replays) > 6  # of twelve turns
    monkeypatch.setattr(Base, "asking_bound", False)
    same(found, trained(model_folder(family), dropout=dropout))


@pytest.mark.parametrize(("buffer_tokens", "even"), [(256, True), (512, False)])
def test_turns_of_several_buffers_are_replayed_where_these_are_about_as_full(
    llama_folder, replays, monkeypatch, buffer_tokens, even
):
    filled, prepare = [], step.prepare

    def noted(*given):
        made = prepare(*given)
        filled.append((len(made.buffers), made.filled))
        return made

    monkeypatch.setattr("iikata.train.prepare", noted)
    monkeypatch.setattr("iikata.train.recordable", lambda run: True)
    found = trained(llama_folder, buffer_tokens=buffer_tokens)
    assert set(filled) == {(3 if even else 2, even)}
    assert bool(sum(replays)) == even
    monkeypatch.setattr(Base, "asking_bound", False)
    same(found, trained(llama_folder, buffer_tokens=buffer_tokens))


def test_a_larger_turn_is_another_graph(llama_folder, replays, monkeypatch):
    monkeypatch.setattr(Room, "MORE", 1.0)
    found = trained(llama_folder)
    monkeypatch.setattr(Base, "asking_bound", False)
    same(found, trained(llama_folder))


def eventful(folder):
    """Return the same and held-out losses: two blocks of other ranks, one arm given up, others done before the rest."""
    base, adapters = opened(folder)
    ranks = {f"r{r}": replace(adapters.shape, r=r) for r in (4, 8)}
    arms = [Arm(name, seed) for name in ranks for seed in range(3)]
    adapters.shapes = {arm.name: ranks[arm.variant] for arm in arms}
    for arm in arms:
        adapters.initialise(arm.name, int(arm.seed))
    for name in ranks:
        adapters.group([arm.name for arm in arms if arm.variant == name])
    rate = {0: 1e-2, 1: math.inf, 2: 1e-2}
    runs = {
        arm.name: ArmRun(
            arm, models.samples(14, seed=arm.seed, prefix=PREFIX), (PREFIX,),
            TrainingArgs(2 if arm.seed else 3, 4, rate[arm.seed]), base,
        )
        for arm in arms
    }  # fmt: skip
    found, held_out, ended = {}, [], {}
    for one in train(list(runs.values())):
        found[one.arm, one.step] = (one.loss, one.grad_norm)
        if runs[one.arm].done:
            ended[one.arm] = {name: tensor.clone() for name, tensor in adapters.weights(one.arm).items()}
        if not runs[one.arm].stopped:
            held_out += [mean_loss(base, arm, models.samples(9, seed=7), 4096) for arm in (one.arm, None)]
        if runs[one.arm].done:
            adapters.drop(one.arm)
    return found, {arm: weights for arm, weights in ended.items() if not runs[arm].stopped}, held_out


def test_arms_that_end_are_given_up_or_are_evaluated_between_turns_change_no_replay(llama_folder, replays, monkeypatch):
    *found, losses = eventful(llama_folder)
    assert sum(replays) > 60
    monkeypatch.setattr(Base, "asking_bound", False)
    *wanted, wanted_losses = eventful(llama_folder)
    same(found, wanted)
    assert losses == pytest.approx(wanted_losses, rel=1e-9, nan_ok=True)


def test_where_nothing_can_be_recorded_training_goes_on_without(llama_folder, replays, monkeypatch):
    def refused(work, device, pool):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "recorded", refused)
    with pytest.warns(UserWarning, match="without a CUDA graph, which is slower: operation not permitted"):
        found = trained(llama_folder)
    monkeypatch.setattr(Base, "asking_bound", False)
    same(found, trained(llama_folder))


@pytest.mark.parametrize(
    "why", ["float16", "computed twice", "asked for soon enough", "few steps", "uneven buffers", "one arm"]
)
def test_what_would_not_pay_or_not_be_the_same_is_not_recorded(llama_folder, replays, monkeypatch, why):
    base, adapters = opened(llama_folder)
    arms = ["t.s0", "t.s1", "t.s2"]
    for arm in arms:
        adapters.initialise(arm, 0)
    if why != "one arm":
        adapters.group(arms)
    run = ArmRun(Arm("t", 0), models.samples(14), (), TrainingArgs(3, 4, 1e-2), base)
    assert recordable(run) == (why != "one arm")
    if why == "float16":
        monkeypatch.setattr(base, "dtype", torch.float16)
    elif why == "computed twice":
        base.run_layers(compiled=False, checkpointed=True)
    elif why == "asked for soon enough":
        monkeypatch.setattr(Base, "asking_bound", False)
    elif why == "few steps":
        run.step = run.steps - step.FEWEST_TURNS + 1
    elif why == "uneven buffers":
        row = sum(len(sample.input_ids) for sample in run.samples) / len(run.samples)
        run.args = replace(run.args, buffer_tokens=int(2.5 * 4 * row))
    assert not recordable(run)


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
        return [x.shape for x in graphs._tensors(buffer)], losses, flat.gradient.clone()

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
