"""One turn: an optimizer step for each of the arms that share buffers, or for the one arm that fills its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.core.errors import IikataError
from iikata.core.records import TrainStep
from iikata.model.attention.tiles import joined
from iikata.model.attention.varlen import Limits, Room
from iikata.model.base import Base
from iikata.model.buffers import BUCKET, Buffer, Part, computed, split
from iikata.train.arm_run import ArmRun, loss_tokens
from iikata.train.recorded import Recorded


@dataclass(frozen=True)
class Step:
    """What a turn computes, ready on the device; it follows from the arms and their step numbers alone."""

    runs: Sequence[ArmRun]
    steps: Sequence[int]
    batches: Sequence[Sequence[Encoded]]
    buffers: Sequence[Buffer]
    weights: Tensor
    """[K] what a loss token of each arm of the block counts for: one over its step's loss tokens."""


def limits_of(runs: Sequence[ArmRun]) -> Limits:
    """Return the most that any buffer of these arms holds."""
    longest = max((len(sample.input_ids) for run in runs for sample in run.samples), default=1)
    prefix = max((len(prefix) for run in runs for prefix in run.prefixes), default=0)
    return Limits.over(longest, max(runs[0].args.buffer_tokens, longest), prefix)


def halve(runs: Sequence[ArmRun]) -> None:
    """Let every arm's buffers hold half the tokens from now on. Raises IikataError where samples cannot be cut."""
    tokens, longest = runs[0].args.buffer_tokens, max(len(s.input_ids) for r in runs for s in r.samples)
    if tokens <= longest:
        raise IikataError(
            f"memory ran out in training, with buffers of no more than the longest sample ({longest} tokens). "
            "Lower train.cutoff_len, train fewer arms at once (train.seeds), or hold the base in fewer bits "
            "(model.quantize). What is saved is kept."
        )
    for run in runs:
        run.args = replace(run.args, buffer_tokens=tokens // 2)


def prepare(runs: Sequence[ArmRun], steps: Sequence[int], limits: Limits, room: Room | None = None) -> Step:
    """Pack step `steps[i]` of arm `runs[i]`, all of one block; they share buffers as far as they fit.

    A turn's only buffer is filled up to a `room`, where there is one: of several, the last may be nearly empty.
    """
    base, arms = runs[0].base, len(runs[0].flat.arms)
    batches = [run.batch(step) for run, step in zip(runs, steps, strict=True)]
    parts = [part for run, step in zip(runs, steps, strict=True) for part in run.parts(step)]
    together = list(_together(parts, runs[0].args.buffer_tokens)) if arms > 1 else [[part] for part in parts]
    weights = [0.0] * arms
    for run, batch in zip(runs, batches, strict=True):
        weights[run.index] = 1 / max(1, loss_tokens(batch))
    kind = torch.float64 if base.dtype == torch.float64 else torch.float32
    room = room if len(together) == 1 else None
    buffers = [base.pack(some, limits, bucketed=arms > 1, room=room) for some in together]
    return Step(runs, steps, batches, buffers, torch.tensor(weights, dtype=kind).to(base.device))


def _together(parts: Sequence[Part], size: int) -> Iterator[list[Part]]:
    """Yield the parts in buffers of at most `size` tokens, in order; one longer part stands alone."""

    def cost(part: Part) -> int:
        own = sum(map(len, part.prefixes)) + sum(computed(sample, part.prefixes) for sample in part.samples)
        return own + -own % BUCKET

    costs = [(part, cost(part)) for part in parts]
    for some in joined(costs, lambda some, one: sum(used for _, used in some) + one[1] <= size):
        yield [part for part, _ in some]


def gradients(step: Step, recorded: Recorded | None = None) -> Tensor:
    """Run the turn's buffers forward and backward; returns [K] each arm's loss.

    It begins with no gradient, so that it may be done again after it broke off.
    """
    base, flat = step.runs[0].base, step.runs[0].flat
    flat.gradient.zero_()  # laid out before the first backward pass, which then adds to it
    totals = torch.zeros(len(flat.arms), dtype=torch.float64, device=base.device)

    def compute(buffer: Buffer, weights: Tensor, totals: Tensor) -> None:
        losses = counted(_losses(base, step.runs[0], buffer), buffer, weights, totals)
        _scaled(losses, step.runs, buffer).sum().backward()

    for buffer in step.buffers:
        if recorded and len(step.buffers) == 1:
            recorded(compute, buffer, step.weights, totals)
        else:
            compute(buffer, step.weights, totals)
    return totals


def counted(losses: Tensor, buffer: Buffer, weights: Tensor, totals: Tensor) -> Tensor:
    """Return each target's part [L] of its arm's mean loss, and add it to the arms' `totals` [K]."""
    losses = losses * weights[buffer.arms] * (buffer.sample_index >= 0)
    if len(totals) == 1:
        totals += losses.detach().double().sum()  # on a GPU, the order in which an index_add_ adds is no fixed one
    else:
        totals.index_add_(0, buffer.arms, losses.detach().double())
    return losses


def update(step: Step, totals: Tensor) -> list[TrainStep]:
    """Take one optimizer step an arm; a non-finite one stops its own arm alone."""
    found = torch.stack([run.loss_and_norm(totals[run.index], run.squared_norm()) for run in step.runs])
    for run, own, number in zip(step.runs, found, step.steps, strict=True):
        run.update(own, number)
    # Reading the numbers is the one wait of a turn: by then everything has been asked of the device.
    done = zip(step.runs, found.tolist(), step.batches, strict=True)
    return [run.finish(loss, norm, batch) for run, (loss, norm), batch in done]


def mean_loss(base: Base, arm: str | None, rows: Sequence[Encoded], buffer_tokens: int) -> float:
    """Return the nats a loss token of unseen `rows` under an arm or the base alone, as transformers' Trainer does."""
    longest = max(len(row.input_ids) for row in rows)
    limits, total, count = Limits.over(longest, max(buffer_tokens, longest), 0), 0.0, 0
    for part in split(rows, (), buffer_tokens):
        with torch.inference_mode():
            base.set_adapter(arm)
            buffer = base.pack([Part(part, ())], limits)
            losses = base.losses(buffer)
        own = losses[buffer.sample_index >= 0].double()
        total, count = total + float(own.sum()), count + len(own)
    return total / count


def _losses(base: Base, run: ArmRun, buffer: Buffer) -> Tensor:
    assert base.adapters is not None
    base.adapters.set_adapter(run.arm.name, buffer.noise, buffer.buckets)
    return base.losses(buffer)


def _scaled(losses: Tensor, runs: Sequence[ArmRun], buffer: Buffer) -> Tensor:
    if all(run.scale == 1 for run in runs):
        return losses
    scales = torch.ones(len(runs[0].flat.arms))
    for run in runs:
        scales[run.index] = run.scale
    return losses * scales.to(losses.device)[buffer.arms]
