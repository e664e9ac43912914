"""An arm's training is peft's and torch's, belongs to it alone, and can stop and go on at any step."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

import iikata.train as training
import models
import oracle
import replayed
from iikata.core.records import Arm
from iikata.model.attention.limits import Room
from iikata.model.buffers import pack
from iikata.train import ArmRun, TrainingArgs, train
from iikata.train.step import counted, limits_of, prepare
from marks import long

PREFIX = (5, 9, 4, 7, 30, 31, 32, 33)
ROWS = models.samples(11, seed=5, prefix=PREFIX)
RECIPE = TrainingArgs(epochs=2, batch_size=4, learning_rate=1e-2, warmup_steps=2, buffer_tokens=40)
ARMS = (Arm("alpaca", 0), Arm("plain", 0), Arm("alpaca", 1))


def opened(folder, dtype="float32", dropout=0.0):
    loaded = models.opened(folder, dtype)
    oracle.exact_norms(loaded.model)
    loaded.adapt(4, 8, dropout, "all-linear")
    return loaded


def run_of(loaded, arm=ARMS[0], rows=ROWS, recipe=RECIPE, prefixes=(PREFIX,)):
    return ArmRun(arm, rows, prefixes, recipe, loaded)


def copies(run):
    return {name: tensor.detach().clone() for name, tensor in run.base.adapters.weights(run.arm.name).items()}


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


class Torch:
    """peft's adapter, torch's AdamW and clipping, transformers' schedule, one sample at a time."""

    def __init__(self, folder, adapter, dtype, recipe, steps):
        from transformers import get_linear_schedule_with_warmup

        self.model, self.recipe = oracle.with_adapter(folder, adapter, dtype), recipe
        self.weights = oracle.named(self.model)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, recipe.warmup_steps, steps)

    def step(self, samples):
        """Return loss, gradient norm and rate of one step."""
        loss = oracle.mean_loss(self.model, samples)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.max_grad_norm or math.inf)
        (rate,) = self.schedule.get_last_lr()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return float(loss.detach()), float(norm), rate


CASES = product(
    ("neox_sequential", "neox_parallel", "llama", "gemma"), ("float32", "float64"), ((0.0, 0.0), (0.1, 0.5))
)


@pytest.mark.parametrize(
    ("family", "dtype", "decay_and_clip"),
    [
        case if case[0] == "llama" or case[1:] == ("float64", (0.1, 0.5)) else param
        for case in CASES for param in long(case)
    ],
)  # fmt: skip
def test_twenty_steps_are_those_of_peft_and_adamw(model_folder, family, dtype, decay_and_clip, tmp_path):
    decay, clip = decay_and_clip
    recipe = TrainingArgs(
        epochs=5, batch_size=3, learning_rate=3e-3, warmup_steps=3, weight_decay=decay, max_grad_norm=clip,
        buffer_tokens=40,
    )  # fmt: skip
    run = run_of(opened(model_folder(family), dtype), recipe=recipe)
    adapter = oracle.save_adapter(run.base, run.arm.name, tmp_path)
    theirs = Torch(model_folder(family), adapter, dtype, recipe, run.steps)
    bound = 1e-4 if dtype == "float32" else 1e-10
    clipped = False
    for number in range(20):
        loss, norm, rate = theirs.step(run.batch(number))
        step = next(train([run]))
        clipped |= bool(clip) and norm > clip
        assert (step.loss, step.grad_norm) == pytest.approx((loss, norm), rel=bound)
        assert step.learning_rate == pytest.approx(rate, rel=1e-12)
    assert clipped == bool(clip)
    ours = copies(run)
    assert max(oracle.distance(ours[name], theirs.weights[name].detach()) for name in ours) < bound


def test_the_loss_is_the_mean_over_the_steps_tokens_however_it_is_cut_into_buffers(llama_folder):
    found = []
    for tokens in (1, 40, 10_000):
        run = run_of(opened(llama_folder, "float64"), recipe=TrainingArgs(1, 8, 1e-2, buffer_tokens=tokens))
        found.append(next(train([run])))
    for step in found[1:]:
        assert step.loss == pytest.approx(found[0].loss, rel=1e-12)
        assert step.grad_norm == pytest.approx(found[0].grad_norm, rel=1e-12)
        assert (step.tokens, step.loss_tokens) == (found[0].tokens, found[0].loss_tokens)
    batch = run.batch(0)
    assert found[0].tokens == sum(len(sample.input_ids) for sample in batch)
    assert found[0].loss_tokens == sum(sum(sample.completion_mask) for sample in batch)


def test_where_all_tokens_count_the_first_which_nothing_predicts_does_not(llama_folder, tmp_path):
    rows = [replace(row, completion_mask=(True,) * len(row.input_ids)) for row in ROWS[:4]]
    run = run_of(opened(llama_folder, "float64"), rows=rows)
    adapter = oracle.save_adapter(run.base, run.arm.name, tmp_path)
    wanted = oracle.mean_loss(oracle.with_adapter(llama_folder, adapter, "float64"), rows).detach()
    step = next(train([run]))
    assert step.loss == pytest.approx(float(wanted), rel=1e-10)
    assert step.loss_tokens == sum(len(row.input_ids) - 1 for row in rows)


def test_with_dropout_no_first_tokens_are_shared_for_they_differ_from_sample_to_sample(llama_folder):
    for dropout, shared in ((0.0, (PREFIX,)), (0.2, ())):
        run = run_of(opened(llama_folder, dropout=dropout))
        assert {part.prefixes for part in run.parts(0, limits_of([run]))} == {shared}


@pytest.mark.parametrize("near", [4, 6])
def test_buffers_hold_what_they_should_also_where_a_window_is_too_wide_for_sharing(model_folder, near, monkeypatch):
    monkeypatch.setattr("iikata.model.base.NEAR", near)  # the model's window is 6 tokens
    base, begin = replayed.opened(model_folder("gemma3")), tuple(range(4, 44))
    base.adapt(4, 8, 0.0, "all-linear")
    rows = models.samples(8, longest=20, prefix=begin)
    run = run_of(base, rows=rows, recipe=TrainingArgs(1, 8, 1e-2, buffer_tokens=256), prefixes=(begin,))
    step = prepare([run], [0], limits_of([run]))
    assert max(buffer.input_ids.numel() for buffer in step.buffers) <= 256
    assert len(step.buffers) == (1 if near == 6 else 2)


def test_arms_that_share_buffers_fill_none_beyond_its_size(llama_folder):
    loaded = opened(llama_folder)
    stacked(loaded)
    # Each has fewer than 512 tokens, and takes so many: two buckets of 256.
    rows = models.samples(2, longest=180, prefix=range(4, 170))
    runs = [run_of(loaded, arm, rows, TrainingArgs(1, 2, 1e-2, buffer_tokens=1500), ()) for arm in ARMS]
    step = prepare(runs, [0, 0, 0], limits_of(runs))
    assert [buffer.input_ids.numel() for buffer in step.buffers] == [1024, 512]


def test_what_fills_a_buffer_counts_for_nothing(llama_folder):
    run = run_of(opened(llama_folder))
    buffer = pack(run.parts(0, limits := limits_of([run])), run.base.device, limits, room=Room(4096))
    filling = buffer.sample_index < 0
    totals = torch.zeros(1, dtype=torch.float64)
    counted_losses = counted(torch.ones(len(filling)), buffer, torch.ones(1), totals)
    assert filling.any()
    assert not counted_losses[filling].any()
    assert totals.item() == (~filling).sum()


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_arms_trained_together_are_those_trained_alone_bit_for_bit_in_any_order(llama_folder, dropout):
    alone, steps = {}, {}
    for arm in ARMS:
        run = run_of(opened(llama_folder, dropout=dropout), arm)
        steps[arm.name] = list(train([run]))
        alone[arm.name] = copies(run)
    assert not same(alone["alpaca.s0"], alone["alpaca.s1"])
    for order in (ARMS, ARMS[::-1]):
        loaded = opened(llama_folder, dropout=dropout)
        runs = [run_of(loaded, arm) for arm in order]
        together = list(train(runs))
        for run in runs:
            assert same(copies(run), alone[run.arm.name])
            assert [step for step in together if step.arm == run.arm.name] == steps[run.arm.name]


def test_arms_take_turns_and_a_longer_one_goes_on_alone(llama_folder):
    loaded = opened(llama_folder)
    runs = [run_of(loaded, ARMS[0]), run_of(loaded, ARMS[1], ROWS[:4])]
    assert [step.arm for step in train(runs)] == ["alpaca.s0", "plain.s0"] * 2 + ["alpaca.s0"] * 4


@pytest.mark.parametrize("fault", ["row", "rate"])
def test_a_non_finite_arm_stops_with_its_reason_and_the_others_keep_their_bits(llama_folder, fault):
    def trained(bad):
        loaded = opened(llama_folder)
        one_bad = models.one_bad(loaded, ROWS)
        rows = one_bad if bad and fault == "row" else ROWS
        recipe = TrainingArgs(epochs=2, batch_size=4, learning_rate=1e36) if bad and fault == "rate" else RECIPE
        runs = [run_of(loaded, ARMS[0]), run_of(loaded, ARMS[1], rows, recipe), run_of(loaded, ARMS[2])]
        return runs, list(train(runs))

    runs, steps = trained(bad=True)
    healthy, healthy_steps = trained(bad=False)
    assert [bool(run.stopped) for run in runs] == [False, True, False]
    assert "nan" in runs[1].stopped or "inf" in runs[1].stopped
    assert runs[1].stopped.startswith(f"step {runs[1].step}: ")
    assert runs[1].step < runs[1].steps
    for run, wanted in zip(runs[::2], healthy[::2], strict=True):
        assert same(copies(run), copies(wanted))
    others = [step for step in steps if step.arm != "plain.s0"]
    assert others == [step for step in healthy_steps if step.arm != "plain.s0"]


def test_the_step_that_was_not_finite_changes_nothing(llama_folder):
    loaded = opened(llama_folder)
    run = run_of(loaded, rows=models.one_bad(loaded, ROWS)[3:4])
    before = copies(run)
    step = next(train([run]))
    assert not math.isfinite(step.loss)
    assert run.done
    assert same(copies(run), before)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_restored_arm_goes_on_bit_for_bit_from_any_step(llama_folder, dropout):
    recipe = TrainingArgs(epochs=2, batch_size=4, learning_rate=1e-2, weight_decay=0.1, buffer_tokens=40)
    whole = run_of(opened(llama_folder, dropout=dropout), recipe=recipe)
    states, steps = [whole.state()], []
    while not whole.done:
        steps.append(next(train([whole])))
        states.append(whole.state())
    assert len(steps) == 6
    for done in (0, 1, 3, 6, 3):  # the third state twice: restoring must not use it up
        again = run_of(opened(llama_folder, dropout=dropout), recipe=recipe)
        again.restore(*states[done])
        assert list(train([again])) == steps[done:]
        assert same(copies(again), copies(whole))
        assert same(again.state()[0], states[-1][0])


def test_a_state_that_was_stopped_stays_stopped(llama_folder):
    run = run_of(opened(llama_folder))
    run.stopped = "step 3: loss nan, gradient norm nan"
    again = run_of(opened(llama_folder))
    again.restore(*run.state())
    assert again.done
    assert again.stopped == run.stopped


def test_a_seed_gives_the_same_start_and_order_under_every_template(llama_folder):
    loaded = opened(llama_folder)
    first, second, other = (run_of(loaded, arm) for arm in ARMS)
    assert same(copies(first), copies(second))
    assert not same(copies(first), copies(other))
    orders = [
        [[sample.id for sample in run.batch(step)] for step in range(run.steps)] for run in (first, second, other)
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_every_epoch_is_another_permutation_and_its_last_short_batch_is_kept(llama_folder):
    run = run_of(opened(llama_folder))
    assert run.steps == 6
    assert [len(run.batch(step)) for step in range(6)] == [4, 4, 3] * 2
    epochs = [[sample.id for step in range(start, start + 3) for sample in run.batch(step)] for start in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(sample.id for sample in ROWS)
    assert epochs[0] != epochs[1]


def test_half_an_epoch_is_half_of_its_steps_rounded_up(llama_folder):
    assert run_of(opened(llama_folder), recipe=TrainingArgs(0.5, 4, 1e-2)).steps == 2


def test_training_lowers_the_loss_and_never_touches_the_base(llama_folder):
    loaded = opened(llama_folder)
    before = [parameter.clone() for parameter in loaded.model.parameters()]
    steps = list(train([run_of(loaded, recipe=TrainingArgs(epochs=10, batch_size=11, learning_rate=1e-2))]))
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert all(torch.equal(a, b) for a, b in zip(before, loaded.model.parameters(), strict=True))


def stacked(loaded, arms=ARMS):
    for arm in arms:
        loaded.adapters.initialise(arm.name, arm.seed)
    loaded.adapters.group([arm.name for arm in arms])


@pytest.mark.parametrize(("dtype", "dropout"), [("float32", 0.0), ("float64", 0.2), *long(("float64", 0.0))])
def test_arms_side_by_side_end_where_they_end_alone(llama_folder, dtype, dropout):
    recipe = TrainingArgs(epochs=7, batch_size=4, learning_rate=3e-3, warmup_steps=2, buffer_tokens=700)
    rows = {"alpaca.s0": ROWS, "plain.s0": ROWS[:6], "alpaca.s1": ROWS}  # one of them ends before the others
    alone = {}
    for arm in ARMS:
        run = run_of(opened(llama_folder, dtype, dropout), arm, rows[arm.name], recipe)
        alone[arm.name] = list(train([run])), copies(run)
    loaded = opened(llama_folder, dtype, dropout)
    stacked(loaded)
    runs = [run_of(loaded, arm, rows[arm.name], recipe) for arm in ARMS]
    together = list(train(runs))
    bound = 1e-4 if dtype == "float32" else 1e-10
    for run in runs:
        steps, weights = alone[run.arm.name]
        assert run.step == len(steps) >= 14
        assert [s.loss for s in together if s.arm == run.arm.name] == pytest.approx([s.loss for s in steps], rel=bound)
        assert max(oracle.distance(copies(run)[name], weights[name]) for name in weights) < bound


def test_a_non_finite_arm_beside_others_stops_alone(llama_folder):
    def trained(bad):
        loaded = opened(llama_folder, "float64")
        stacked(loaded)
        one_bad = models.one_bad(loaded, ROWS)
        rows = one_bad if bad else ROWS
        recipe = TrainingArgs(epochs=2, batch_size=4, learning_rate=1e-2, buffer_tokens=2000)
        runs = [run_of(loaded, arm, rows if arm.name == "plain.s0" else ROWS, recipe) for arm in ARMS]
        return runs, list(train(runs))

    runs, _ = trained(bad=True)
    healthy, _ = trained(bad=False)
    assert [bool(run.stopped) for run in runs] == [False, True, False]
    for run, wanted in zip(runs[::2], healthy[::2], strict=True):
        ours, theirs = copies(run), copies(wanted)
        assert run.step == wanted.step == wanted.steps
        assert max(oracle.distance(ours[name], theirs[name]) for name in ours) < 1e-10


def test_arms_side_by_side_go_on_from_their_states(llama_folder):
    recipe = TrainingArgs(epochs=2, batch_size=4, learning_rate=1e-2, buffer_tokens=2000)

    def runs_of(loaded):
        stacked(loaded)
        return [run_of(loaded, arm, recipe=recipe) for arm in ARMS]

    whole = runs_of(opened(llama_folder))
    steps, states = [], None
    for step in train(whole):
        steps.append(step)
        if len(steps) == 2 * len(ARMS):
            states = [run.state() for run in whole]
    again = runs_of(opened(llama_folder))
    for run, state in zip(again, states, strict=True):
        run.restore(*state)
    assert list(train(again)) == steps[2 * len(ARMS) :]
    assert all(same(copies(a), copies(b)) for a, b in zip(again, whole, strict=True))


def test_float16_losses_are_scaled_and_an_overflow_halves_the_scale_instead_of_stopping_the_arm(llama_folder):
    exact, half = (run_of(opened(llama_folder, dtype)) for dtype in ("float32", "float16"))
    assert (exact.scale, half.scale) == (1.0, 2.0**16)
    for _ in range(3):
        wanted, found = next(train([exact])), next(train([half]))
        assert (found.loss, found.grad_norm) == pytest.approx((wanted.loss, wanted.grad_norm), rel=0.02)
    half.scale = 2.0**60
    before = copies(half)
    step = next(train([half]))
    assert not math.isfinite(step.grad_norm)
    assert (half.scale, half.stopped) == (2.0**59, "")
    assert same(copies(half), before)
    half.finish(math.nan, math.nan, ())  # of which no scale is the cause
    assert half.stopped


def test_a_scale_that_held_long_enough_is_doubled_and_survives_a_restart(llama_folder):
    run = run_of(opened(llama_folder, "float16"), recipe=TrainingArgs(epochs=40, batch_size=4, learning_rate=1e-4))
    run.finite = 1999
    next(train([run]))
    assert (run.scale, run.finite) == (2.0**17, 0)
    again = run_of(opened(llama_folder, "float16"))
    again.restore(*run.state())
    assert (again.scale, again.finite) == (2.0**17, 0)


@pytest.mark.parametrize("beside", [False, True], ids=["in turns", "side by side"])
def test_turns_prepared_ahead_in_a_thread_are_the_same_turns(llama_folder, monkeypatch, beside):
    def trained():
        loaded = opened(llama_folder)
        if beside:
            stacked(loaded)
        bad = models.one_bad(loaded, ROWS)
        runs = [run_of(loaded, ARMS[0]), run_of(loaded, ARMS[1], bad), run_of(loaded, ARMS[2], ROWS[:4])]
        steps = []
        for step in train(runs):
            steps.append(step)
            for run in runs:  # as a run does with what is finished or given up
                if run.done and run.arm.name in loaded.adapters:
                    loaded.adapters.drop(run.arm.name)
        return steps

    plain = trained()
    ahead = training._Prefetcher
    monkeypatch.setattr(training, "_Prefetcher", lambda limits, threaded: ahead(limits, threaded=True))
    assert repr(trained()) == repr(plain)  # a loss that is nan is no loss's equal
    assert {step.arm for step in plain} == {arm.name for arm in ARMS}
