"""Stage train with workers: arms are given out, and what comes back is written here, the folder's one writer."""

import math
import shutil
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from iikata.core import signals
from iikata.core.io import write_bytes
from iikata.core.records import Arm, TrainStep
from iikata.pipeline.checkpoints import keep_newest
from iikata.pipeline.context import RunContext
from iikata.pipeline.elsewhere import files_of
from iikata.pipeline.events import Evaluated, Progress, Stepped
from iikata.pipeline.executor.messages import Ended, Files, Halved, Job, Order

if TYPE_CHECKING:
    from iikata.pipeline.executor.crew import Crew


def train_away(ctx: RunContext, crew: "Crew", waiting: Sequence[Arm], brought: Sequence[Arm]) -> int:
    """Let workers train and bring in these arms, and write what they hand back as it comes."""
    size = max(1, min(ctx.buffer_plan["mixed_arms"], math.ceil(len(waiting) / crew.size)))
    parts = [tuple(waiting[start : start + size]) for start in range(0, len(waiting), size)]

    def bringing(arm: Arm) -> Order:
        return Order("bring", (arm,), ctx.store.read_files(()) | files_of(ctx.experiment, ctx.store, arm))

    def training(arms: tuple[Arm, ...]) -> Order:
        return Order("train", arms, ctx.store.read_files(arms, states=True), in_all // crew.size)

    lengths = {arm: [len(row.input_ids) for row in ctx.samples(arm)] for arm in waiting}
    trains = [(ctx.recipe(arm).train, own) for arm, own in lengths.items()]
    in_all = sum(int(train.epochs * sum(own)) for train, own in trains)
    total = sum(math.ceil(train.epochs * math.ceil(len(own) / train.batch_size)) for train, own in trains)
    jobs = [Job(arm.name, partial(bringing, arm)) for arm in brought]
    jobs += [Job(", ".join(arm.name for arm in part), partial(training, part), part[0].seed) for part in parts]
    states = {arm.name: ctx.store.state(arm).glob("*.json") for arm in waiting}
    at = {name: max((int(path.stem) for path in found), default=0) for name, found in states.items()}
    tokens = 0
    before, speeds = sum(at.values()), dict[str, float]()
    with signals.deferred() as stop_asked:
        for _, about, message in crew.work(jobs, stop_asked):
            if isinstance(message, Files):
                _write(ctx, message)
            elif isinstance(message, Halved):
                ctx.halved(message.stage, message.to, message.unit)
            elif isinstance(message, Stepped):
                step, speeds[about.called] = message.step, message.tokens_per_second
                tokens, at[step.arm] = tokens + step.tokens, step.step
                ctx.emit(Stepped(step, message.steps, sum(speeds.values()), about.called, message.tokens_per_second))
                ctx.emit(Progress("train", sum(at.values()), total, note_of(step, message.steps), before))
            elif isinstance(message, Evaluated):
                ctx.emit(message)
            elif isinstance(message, Ended):
                speeds.pop(about.called, None)
    return tokens


def _write(ctx: RunContext, made: Files) -> None:
    folder = ctx.store.arm(made.arm)
    for name, content in made.files:
        write_bytes(folder / name, content)
    if made.files[-1][0] == "DONE":
        shutil.rmtree(ctx.store.state(made.arm), ignore_errors=True)
    else:
        keep_newest(ctx.store.state(made.arm))


def note_of(step: TrainStep, steps: int) -> str:
    return f"{step.arm} {step.step}/{steps} loss {step.loss:.3f}"
