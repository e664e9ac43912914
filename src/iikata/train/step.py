"""One turn: an optimizer step for each of the arms that share buffers, or for the one arm that fills its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.core.errors import IikataError
from iikata.core.records import TrainStep
from iikata.model.attention.limits import TOKENS, Limits, Room
from iikata.model.base import Base
from iikata.model.buffers import BUCKET, Buffer, Part, computed, evenly, split
from iikata.model.graphs import Graphs
from iikata.train.arm_run import ArmRun, loss_tokens


@dataclass(frozen=True)
class Step:
    """What a turn computes, ready on the device; it follows from the arms and their step numbers alone."""

    runs: Sequence[ArmRun]
    steps: Sequence[int]
    batches: Sequence[Sequence[Encoded]]
    buffers: Sequence[Buffer]
    filled: bool
    """Whether its buffers are filled up to one shape."""
    weights: Tensor
    """[K] what a loss token of each arm of the block counts for: one over its step's loss tokens."""


FEWEST_TURNS = 6
"""Recording takes as long as a turn or two."""
EVEN = 0.75
"""Share of the largest buffer so far that a turn's smallest must hold for all of them to be filled up to its shape."""


def recordable(run: ArmRun) -> bool:
    """Return whether the turns of the arms beside this one are worth recording as graphs, and can be."""
    arms, row = len(run.flat.arms), sum(len(sample.input_ids) for sample in run.samples) / max(1, len(run.samples))
    usual = [len(some) for some in evenly(range(arms), [run.args.batch_size * row] * arms, run.args.buffer_tokens)]
    # The scale of float16 moves; layers that are computed twice have not been tried.
    plain = run.base.dtype != torch.float16 and not any(runner.checkpoint for runner in run.base.runners)
    even = arms > 1 and min(usual) >= EVEN * max(usual)
    return run.base.asking_bound and plain and even and run.steps - run.step >= FEWEST_TURNS


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

    A turn's buffers are filled up to a `room`, where there is one and none of them is much emptier than the others.
    """
    base, arms = runs[0].base, len(runs[0].flat.arms)
    batches = [run.batch(step) for run, step in zip(runs, steps, strict=True)]
    parts = [part for run, step in zip(runs, steps, strict=True) for part in run.parts(step, limits)]
    size = runs[0].args.buffer_tokens
    together = list(evenly(parts, [_cost(part) for part in parts], size)) if arms > 1 else [[part] for part in parts]
    weights = [0.0] * arms
    for run, batch in zip(runs, batches, strict=True):
        weights[run.index] = 1 / max(1, loss_tokens(batch))
    kind = torch.float64 if base.dtype == torch.float64 else torch.float32
    costs = [sum(map(_cost, some)) for some in together]
    room = room if room and min(costs) >= EVEN * max(*costs, room.lengths.get(TOKENS, 0)) else None
    buffers = [base.pack(some, limits, bucketed=arms > 1, room=room) for some in together]
    filled, weighed = room is not None, torch.tensor(weights, dtype=kind).to(base.device)
    return Step(runs, steps, batches, buffers, filled, weighed)


def _cost(part: Part) -> int:
    own = sum(map(len, part.prefixes)) + sum(computed(sample, part.prefixes) for sample in part.samples)
    return own + -own % BUCKET


def gradients(step: Step, graphs: Graphs | None = None) -> Tensor:
    """Run the turn's buffers forward and backward; returns [K] each arm's loss.

    It begins with no gradient, so that it may be done again after it broke off.
    """
    base, flat = step.runs[0].base, step.runs[0].flat
    flat.gradient.zero_()  # laid out before the first backward pass, which then adds to it
    totals = torch.zeros(len(flat.arms), dtype=torch.float64, device=base.device)

    def compute(given: tuple[Buffer, Tensor]) -> Tensor:
        buffer, weights = given
        found = torch.zeros_like(totals)
        losses = counted(_losses(base, step.runs[0], buffer), buffer, weights, found)
        _scaled(losses, step.runs, buffer).sum().backward()
        return found

    for buffer in step.buffers:
        given = (buffer, step.weights)
        totals += graphs(compute, given) if graphs and step.filled else compute(given)
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
            buffer = base.pack([Part(part, ())], limits)
            losses = base.losses_as(arm, buffer)
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
