"""A base laid over several devices trains its arms bit for bit as on one, in whatever order its stages work."""

import random
import time
from dataclasses import replace
from itertools import product

import pytest
import torch

import iikata.train.pipelined as pipelined
import models
import oracle
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.pipeline.evaluating import Evaluator
from iikata.train import ArmRun, TrainingArgs, train
from iikata.train.step import mean_loss
from marks import long

CPU = torch.device("cpu")
PREFIX = (5, 9, 4, 7)
ROWS = models.samples(11, seed=5, prefix=PREFIX)
RECIPE = TrainingArgs(epochs=2, batch_size=4, learning_rate=1e-2, warmup_steps=2, max_grad_norm=0.5, buffer_tokens=40)
ARMS = (Arm("alpaca", 0), Arm("plain", 0), Arm("alpaca", 1))


def opened(folder, stages, dropout=0.0, targets="all-linear", dtype="float32"):
    loaded = models.opened(folder, dtype, devices=[CPU] * stages)
    loaded.adapt(4, 8, dropout, targets)
    return loaded


def runs_over(loaded, rows=ROWS, recipe=RECIPE):
    return [ArmRun(arm, rows, (PREFIX,), recipe, loaded) for arm in ARMS]


def outcome(runs, steps):
    """Return each arm's steps, and its weights and moments."""
    told = {run.arm.name: [step for step in steps if step.arm == run.arm.name] for run in runs}
    return told, {run.arm.name: {name: x.clone() for name, x in run.state()[0].items()} for run in runs}


def trained(loaded, *given):
    runs = runs_over(loaded, *given)
    return outcome(runs, list(train(runs)))


def assert_same(found, wanted):
    assert repr(found[0]) == repr(wanted[0])  # in float16 a scale that is too large gives norms that are no numbers
    for arm, tensors in wanted[1].items():
        assert list(found[1][arm]) == list(tensors)
        assert all(torch.equal(found[1][arm][name], x) for name, x in tensors.items())


class AnyOrder(pipelined.Schedule1F1B):
    """Stages that are late by chance, go forward or backward as it falls, and take their time over it."""

    draw = random.Random(0)

    def restart(self):
        super().restart()
        self.laid_over.links.pause = lambda device: time.sleep(self.draw.choice([0, 0, 0.001, 0.003]))

    def choose(self, stage):
        able = ["backward"] * bool(self.backwards[stage])
        able += ["forward"] * bool(self.forwards[stage] and self.held[stage] < self._most(stage))
        return self.draw.choice([*able, ""])


EVERY = tuple(product((2, 3), (None, 0, 1)))
"""How many stages, and how many of their graphs are kept."""


@pytest.mark.parametrize(
    ("dtype", "dropout", "ways"),
    [
        ("float32", 0.2, ((2, 0), (3, None), (3, 1))),
        ("float16", 0.2, ((2, None), (3, 0))),
        *long(*((dtype, 0.2, EVERY) for dtype in ("float32", "float16", "bfloat16"))),
        *long(*((dtype, 0.0, EVERY) for dtype in ("float32", "bfloat16"))),
    ],
)
def test_stages_train_several_arms_as_one_device_does_bit_for_bit(deep_folder, dropout, dtype, ways, monkeypatch):
    wanted = trained(opened(deep_folder, 1, dropout, dtype=dtype))
    norms = [step.grad_norm for steps in wanted[0].values() for step in steps]
    assert max(norms) > RECIPE.max_grad_norm, "no gradient was clipped"
    monkeypatch.setattr("iikata.train.Schedule1F1B", AnyOrder)
    for stages, kept in ways:
        loaded = opened(deep_folder, stages, dropout, dtype=dtype)
        loaded.laid_over.graphs = kept
        assert_same(trained(loaded), wanted)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_family_can_be_cut(model_folder, family):
    assert_same(*(trained(opened(model_folder(family), stages), ROWS[:4]) for stages in (2, 1)))


def test_a_stage_without_adapters_passes_its_arm_on(deep_folder):
    """Layers 3 and 4 alone are adapted: nothing is wanted of the stages before them."""
    targets = [f"model.layers.{i}.self_attn.q_proj" for i in (3, 4)]
    whole, cut = (opened(deep_folder, stages, targets=targets) for stages in (1, 3))
    assert_same(trained(cut), trained(whole))
    assert set(cut.adapters.flats_of(ARMS[0].name)) < {0, 1, 2}


def test_a_stage_holds_few_buffers_and_no_stage_waits_where_arms_are_enough(deep_folder, monkeypatch):
    """One forward, one backward in turn: with as many arms as stages, every stage works in every turn but the ends."""
    idle, held = [], []

    class Watched(pipelined.Schedule1F1B):
        def choose(self, stage):
            kind = super().choose(stage)
            idle.append(not kind)
            held.append((stage, self.held[stage]))
            return kind

    monkeypatch.setattr("iikata.train.Schedule1F1B", Watched)
    runs = runs_over(opened(deep_folder, 3), recipe=TrainingArgs(2, 1, 1e-2, buffer_tokens=40))
    steps = list(train(runs))
    assert max(count for stage, count in held if stage == 0) == 3, "as many as there are arms"
    assert max(count for stage, count in held if stage == 2) == 1
    turns = len(idle) // 3
    assert len(steps) == 3 * runs[0].steps
    assert turns == 2 * len(steps) + 2 * (3 - 1), "forward and backward of each buffer, and the way in and out"


def test_weights_lie_still_where_hold_is_asked_and_a_state_goes_on_over_other_stages(deep_folder):
    wanted = trained(opened(deep_folder, 1))
    runs = runs_over(opened(deep_folder, 3))
    told, asking = [], []
    steps = train(runs, hold=lambda run: bool(asking))
    while not all(run.step for run in runs) or len(told) < 7:
        told.append(next(steps))
    assert any(run.asked > run.step for run in runs), "nothing is asked for ahead"
    asking.append(True)
    while any(run.asked > run.step for run in runs):
        told.append(next(steps))
    assert not any(run.done for run in runs), "they lie still in the middle"
    saved = [run.state() for run in runs]
    asking.clear()
    again = runs_over(opened(deep_folder, 2))
    for run, (tensors, values) in zip(again, saved, strict=True):
        assert values["step"] == len([step for step in told if step.arm == run.arm.name]) > 0
        run.restore(tensors, values)
    assert_same(outcome(again, told + list(train(again))), wanted)
    assert_same(outcome(runs, told + list(steps)), wanted)


@pytest.mark.parametrize("read_at_once", [False, True])
def test_an_arm_that_is_not_finite_stops_and_leaves_the_others_as_they_are(deep_folder, read_at_once):
    def with_one_bad(stages):
        loaded = opened(deep_folder, stages)
        bad = models.one_bad(loaded, ROWS)
        if read_at_once:  # the arm is given up while its next step is under way, of which all is computed twice
            bad = bad[3:4] * len(ROWS)
            if loaded.laid_over:
                loaded.laid_over.graphs = 0
        runs = [ArmRun(arm, bad if i == 1 else ROWS, (), RECIPE, loaded) for i, arm in enumerate(ARMS)]
        steps = []
        for step in train(runs, hold=lambda run: read_at_once and bool(steps)):
            steps.append(step)
            for run in runs:  # as a run does with what is finished or given up, though more was asked of it
                if run.done and run.arm.name in loaded.adapters:
                    loaded.adapters.drop(run.arm.name)
        return runs, steps

    runs, steps = with_one_bad(3)
    whole, wanted = with_one_bad(1)
    assert [run.stopped for run in runs] == [run.stopped for run in whole]
    assert runs[1].stopped
    assert [run.asked for run in runs] == [run.step for run in runs]
    for arm in ("alpaca.s0", "alpaca.s1"):
        assert [s for s in steps if s.arm == arm] == [s for s in wanted if s.arm == arm]


def test_where_memory_runs_out_buffers_are_halved_and_every_step_is_done_once(deep_folder, monkeypatch):
    runs = runs_over(opened(deep_folder, 3), recipe=TrainingArgs(2, 4, 1e-2, buffer_tokens=80))
    before, halved = pipelined.Schedule1F1B._compute, []
    calls = iter(range(10_000))

    def compute(self, stage, item, x):
        if next(calls) == 40:
            raise MemoryError
        return before(self, stage, item, x)

    monkeypatch.setattr(pipelined.Schedule1F1B, "_compute", compute)
    steps = list(train(runs, halved.append))
    assert halved == [40]
    for run in runs:
        assert [step.step for step in steps if step.arm == run.arm.name] == list(range(1, run.steps + 1))
    wanted = trained(opened(deep_folder, 1), ROWS, TrainingArgs(2, 4, 1e-2, buffer_tokens=80))[1]
    for run in runs:
        for name, x in run.state()[0].items():
            assert oracle.distance(x, wanted[run.arm.name][name]) < 1e-4, name
    small = runs_over(opened(deep_folder, 2), recipe=TrainingArgs(2, 4, 1e-2, buffer_tokens=10))
    calls = iter([40])
    with pytest.raises(IikataError, match="memory ran out in training"):
        list(train(small))


def test_an_optimizer_step_for_which_memory_runs_out_is_not_left_out(deep_folder, monkeypatch):
    """Buffers that are halved and done again would go on without it, and nothing would tell."""
    before, calls = ArmRun.update, iter(range(10_000))

    def update(self, found, step, stage=0):
        if next(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        before(self, found, step, stage)

    monkeypatch.setattr(ArmRun, "update", update)
    runs, halved = runs_over(opened(deep_folder, 2), recipe=replace(RECIPE, buffer_tokens=80)), []
    with pytest.raises(IikataError, match=r"memory ran out in training, where step \d of \w+\.s\d was taken"):
        list(train(runs, halved.append))
    assert not halved


def test_arms_are_evaluated_at_their_own_step_though_more_are_under_way(deep_folder):
    """What `Evaluator` asks for: weights that lie still at the steps at which an arm is due."""
    evaluator = Evaluator.__new__(Evaluator)
    evaluator._every, evaluator.on = 2, True

    def curves(stages):
        loaded = opened(deep_folder, stages)
        sizes = (11, 1, 4)
        runs = [
            ArmRun(arm, ROWS, (PREFIX,), replace(RECIPE, batch_size=size), loaded)
            for arm, size in zip(ARMS, sizes, strict=True)
        ]
        by_name, found, ahead = {run.arm.name: run for run in runs}, [], 0
        for step in train(runs, hold=lambda run: evaluator.due(run, run.asked)):
            run = by_name[step.arm]
            ahead += run.asked > run.step
            if evaluator.due(run):
                assert run.asked == run.step
                found.append((step.arm, step.step, mean_loss(loaded, step.arm, ROWS[:4], 40)))
        assert ahead or stages == 1, "nothing was under way beside"
        return sorted(found)

    wanted = curves(1)
    assert [one[1] for one in wanted] == [2, 2, 4, 6, *range(2, 23, 2)]
    assert curves(2) == curves(3) == wanted
