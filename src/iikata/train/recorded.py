"""A buffer's forward and backward pass as one CUDA graph: a small model's thousands of kernels take longer to ask for.

What is recorded are the kernels that would run anyway, over buffers filled up to one shape.
"""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from iikata.model.attention.varlen import Room, Varlen
from iikata.model.base import Base
from iikata.model.buffers import Buffer
from iikata.train.arm_run import ArmRun

MOST_WEIGHTS = 1_000_000_000
"""Beyond so many, kernels take longer than asking for them."""
FEWEST_TURNS = 6
"""Recording takes as long as a turn or two."""
SPARE = 1.5
"""Times what a turn takes that must be free for a graph's memory."""

Compute = Callable[[Buffer, Tensor, Tensor], None]
"""Adds a buffer's gradients to the adapters' and its losses to the totals [K]; the arms' weights are [K] too."""


def recordable(run: ArmRun) -> bool:
    """Return whether the turns of the arms beside this one are worth recording, and can be."""
    base = run.base
    small = sum(weight.numel() for weight in base.model.parameters()) <= MOST_WEIGHTS
    # float16 has a scale that moves; compiled layers have not been tried.
    plain = base.dtype != torch.float16 and not any(runner.checkpoint or runner.compile for runner in base.runners)
    row = sum(len(sample.input_ids) for sample in run.samples) / max(1, len(run.samples))
    fits = len(run.flat.arms) * run.args.batch_size * row <= run.args.buffer_tokens  # a turn of several is not recorded
    return worth(base) and small and plain and fits and len(run.flat.arms) > 1 and run.steps - run.step >= FEWEST_TURNS


def worth(base: Base) -> bool:
    """Return whether this base's device records, and its attention takes buffers of one shape."""
    return base.device.type == "cuda" and bool(base.runners)


def graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record work that ran on a GPU before; return what runs it again.

    Raises RuntimeError where it waits for the device, or where memory is short: a graph has its own, for as much as a
    turn takes, and held-out losses come between.
    """
    torch.cuda.empty_cache()
    taken = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    if (free := torch.cuda.mem_get_info(device)[0]) < SPARE * taken:
        raise RuntimeError(f"{free / 1e9:.1f} GB are free, a turn takes {taken / 1e9:.1f} GB")
    made = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream(device)
    # The next turn's buffers are sent by another thread meanwhile.
    with torch.cuda.graph(made, stream=stream, capture_error_mode="thread_local"):
        work()
    return made.replay


class Recorded:
    """Computes buffers of one block of arms: one shape's first as it is, from the second on by replaying a graph."""

    def __init__(self, device: torch.device, most_tokens: int) -> None:
        """Fill buffers up, but to no more than `most_tokens` where they have not as many."""
        self.device, self.room = device, Room(most_tokens)
        self._seen: list[torch.Size] = []
        self._replay: Callable[[], None] | None = None
        self._broken = False

    def __call__(self, compute: Compute, buffer: Buffer, weights: Tensor, totals: Tensor) -> None:
        """Do as `compute` does; it is the same for all buffers but for the arms that are left."""
        shapes = [x.shape for x in (*_tensors(buffer), weights)]
        if self._broken or shapes != self._seen:  # kernels are compiled and tuned outside of a graph
            self._seen, self._replay = shapes, None
            compute(buffer, weights, totals)
            return
        if self._replay is None and not self._record(compute, buffer, weights, totals):
            compute(buffer, weights, totals)
            return
        assert self._replay is not None
        for place, given in zip(self._places, (*_tensors(buffer), weights), strict=True):
            place.copy_(given)
        self._replay()
        totals += self._totals

    def _record(self, compute: Compute, buffer: Buffer, weights: Tensor, totals: Tensor) -> bool:
        own, own_weights, self._totals = _copied(buffer), weights.clone(), torch.zeros_like(totals)
        self._places = [*_tensors(own), own_weights]

        def work() -> None:
            self._totals.zero_()
            compute(own, own_weights, self._totals)

        try:
            self._replay = graph(work, self.device)
        except RuntimeError as error:
            self._broken = True
            first = [*str(error).splitlines(), "no reason given"][0]
            warnings.warn(f"training runs without a CUDA graph, which is slower: {first}", stacklevel=2)
        return not self._broken


def _tensors(buffer: Buffer) -> list[Tensor]:
    assert isinstance(buffer.layout, Varlen)
    own = [value for one in fields(buffer) if isinstance(value := getattr(buffer, one.name), Tensor)]
    return [*own, *buffer.layout.tensors]


def _copied(buffer: Buffer) -> Buffer:
    def copies(of: Any) -> dict[str, Any]:
        found = {one.name: getattr(of, one.name) for one in fields(of)}
        return {name: value.clone() for name, value in found.items() if isinstance(value, Tensor)}

    return replace(buffer, **copies(buffer) | {"layout": replace(buffer.layout, **copies(buffer.layout))})  # type: ignore[type-var]
