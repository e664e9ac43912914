"""Train arms over a base that lies on several devices: their buffers follow one another through its stages.

A GPU does what it was asked for in order, while it is asked for more, and waits for what comes from another by itself;
so the schedule is an order of asking, made in turns, and no number depends on when anything happens. In a turn each
stage has a thread that asks its device, since who asks a GPU for more than its queue takes is stopped until there is
room. A microbatch is one packed buffer of one arm. Autograd ends at each stage: backward goes on with what came.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.core.errors import IikataError
from iikata.core.records import TrainStep
from iikata.model.buffers import Buffer
from iikata.model.links import Sent, fetch
from iikata.model.memory import allocated_bytes, is_oom, retry_smaller, room_bytes
from iikata.train.arm_run import ArmRun, loss_tokens
from iikata.train.step import counted, halve, limits_of


@dataclass
class _PendingStep:
    """An optimizer step of one arm on its way."""

    run: ArmRun
    step: int
    batch: Sequence[Encoded]
    weights: Tensor
    total: Tensor
    loss: Sent | None = None
    """The total on its way to the first stage, where the numbers are worked out."""
    squared_norms: list[Sent] = field(default_factory=list)
    loss_and_norm: dict[int, Sent] = field(default_factory=dict)
    """Stage -> loss and norm, where the stage's weights have not been updated yet."""
    numbers: Sent | None = None


@dataclass
class _Microbatch:
    """One buffer on its way through the stages and back."""

    asked: _PendingStep
    buffers: dict[torch.device, Buffer]
    first: bool
    last: bool
    """Of its step."""
    arriving: Sent | None = None
    wanted: bool = False
    """Whether a stage before has weights that the gradient is wanted for."""
    kept: dict[int, tuple[Tensor, Tensor | None, bool]] = field(default_factory=dict)
    """Stage -> what came in, what went out where its graph is kept, and `wanted` as it came in."""


WARM = 2
"""Backward passes of every stage before threads begin: layers are compiled in these, one stage after the other."""
SLACK = 1
"""Buffers that a stage but the last holds beyond what a steady course takes, against jitter."""


class Schedule1F1B:
    """One forward, one backward in turn: stage s of n holds about n - s buffers between the two."""

    def __init__(self, runs: Sequence[ArmRun], hold: Callable[[ArmRun], bool]) -> None:
        base = runs[0].base
        assert base.laid_over is not None
        self.base, self.laid_over, self.stages = base, base.laid_over, base.laid_over.stages
        self.runs, self.hold = runs, hold
        self.unread: deque[_PendingStep] = deque()
        self.a_token = [0.0] * len(self.stages)
        """Bytes that each stage keeps for backward a token, as seen."""
        self.recomputed = [0] * len(self.stages)
        self.passed = [0] * len(self.stages)
        """Backward passes of each stage."""
        self.threads: list[ThreadPoolExecutor] = []
        self.restart()

    def restart(self) -> None:
        """Forget what is on its way; every arm goes on with the step that it has not finished."""
        self.limits = limits_of(self.runs)
        self.ready = deque(run for run in self.runs if not run.done and run.asked < run.steps)
        self.going: dict[str, _PendingStep] = {}
        self.forwards: list[deque[_Microbatch]] = [deque() for _ in self.stages]
        self.backwards: list[deque[_Microbatch]] = [deque() for _ in self.stages]
        self.held = [0] * len(self.stages)
        self.graphs = [0] * len(self.stages)
        """Of the buffers held, those whose graph is kept."""

    def steps(self, halved: Callable[[int], None]) -> Iterator[TrainStep]:
        """Yield the steps of all arms as their numbers can be read; the devices have been asked for more by then."""

        def smaller() -> bool:
            halve(self.runs)
            self.restart()
            halved(self.runs[0].args.buffer_tokens)
            return True

        with ExitStack() as stack:
            self.threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in self.stages]
            while self.ready or self.going:
                retry_smaller(self.turn, smaller)
                held = any(self.hold(asked.run) for asked in self.unread)
                # In float16 those that are ready begin no step before their last one's numbers are read.
                waiting = 0 if self.base.dtype == torch.float16 else len(self.ready)
                yield from self._read(0 if held else waiting + len(self.going))
            yield from self._read(0)

    def turn(self) -> None:
        """Let every stage do one thing, if there is one; what it sends is there in the next turn."""
        if self.ready and not self.forwards[0] and self.held[0] < self._most(0):
            self._start()
        threaded = min(self.passed) >= WARM
        asked: list[Future[None]] = []
        sent: list[tuple[deque[_Microbatch], _Microbatch]] = []
        for stage in range(len(self.stages)):
            kind, last = self.choose(stage), self.stages[stage].last
            if kind == "forward":
                item = self.forwards[stage].popleft()
                sent.append((self.backwards[stage] if last else self.forwards[stage + 1], item))
            elif kind == "backward":
                item = self.backwards[stage].popleft()
                sent.append((self.backwards[stage - 1] if stage else deque(), item))
            if kind:
                work = self._forward if kind == "forward" else self._backward
                if threaded:
                    asked.append(self.threads[stage].submit(work, stage, item))
                else:
                    work(stage, item)
        wait(asked)
        for one in asked:
            one.result()
        for queue, item in sent:
            queue.append(item)

    def choose(self, stage: int) -> str:
        """Return what a stage does next: backward where it can, so that it holds few buffers."""
        if self.backwards[stage]:
            return "backward"
        return "forward" if self.forwards[stage] and self.held[stage] < self._most(stage) else ""

    def _most(self, stage: int) -> int:
        return 1 if self.stages[stage].last else len(self.stages) - stage + SLACK

    def _start(self) -> None:
        """Begin the next step of the arm that has waited longest."""
        # In float16 a step's loss scale follows from the last one's numbers.
        known = (run for run in self.ready if self.base.dtype != torch.float16 or run.asked == run.step)
        if (run := next(known, None)) is None:
            return
        self.ready.remove(run)
        items = self._pack(run, run.asked)
        self.going[run.arm.name] = items[0].asked
        self.forwards[0].extend(items)

    def _pack(self, run: ArmRun, step: int) -> list[_Microbatch]:
        """Return a step's buffers on all devices."""
        batch, parts, home = run.batch(step), run.parts(step, self.limits), self.base.device
        kind = torch.float64 if self.base.dtype == torch.float64 else torch.float32
        weights = torch.full((1,), 1 / max(1, loss_tokens(batch)), dtype=kind, device=home)
        asked = _PendingStep(run, step, batch, weights, torch.zeros(1, dtype=torch.float64, device=home))
        devices, items = dict.fromkeys(self.base.devices), []
        for number, part in enumerate(parts):
            buffers = {device: self.base.pack([part], self.limits, device=device) for device in devices}
            items.append(_Microbatch(asked, buffers, number == 0, number == len(parts) - 1))
        return items

    def _forward(self, stage: int, item: _Microbatch) -> None:
        run, device = item.asked.run, self.stages[stage].device
        if item.first:
            self._update(run, stage)
            if stage in run.flats:
                run.flats[stage].gradient.zero_()
        x, wanted = item.buffers[device].input_ids, item.wanted
        if item.arriving is not None:
            x = item.arriving.take().detach().requires_grad_(wanted)
        item.wanted = wanted or stage in run.flats
        keep, before = self._keeps(stage, x.shape[1]), allocated_bytes(device)
        with torch.set_grad_enabled(keep):
            out = self._compute(stage, item, x)
        if keep:
            self.a_token[stage] = max(self.a_token[stage], (allocated_bytes(device) - before) / x.shape[1])
        item.kept[stage] = x, out if keep else None, wanted
        self.held[stage] += 1
        self.graphs[stage] += keep
        item.arriving = None if self.stages[stage].last else self._sent(out.detach(), stage + 1)

    def _keeps(self, stage: int, tokens: int) -> bool:
        """Return whether a stage keeps for backward what it computes; if not, it computes it again then."""
        own = self.stages[stage]
        if own.last:
            return True
        if self.laid_over.graphs is not None:
            return self.graphs[stage] < self.laid_over.graphs
        if own.device.type != "cuda":
            return True
        # Room for all that it may hold, or for one more that is computed again.
        more = min(self._most(stage) - self.graphs[stage], 2)
        return more * tokens * self.a_token[stage] <= room_bytes(own.device)

    def _compute(self, stage: int, item: _Microbatch, x: Tensor) -> Tensor:
        """Run a stage with the microbatch's arm, whatever arm went through it last; the last stage returns the loss."""
        run, own = item.asked.run, self.stages[stage]
        buffer, adapters = item.buffers[own.device], self.base.adapters
        assert adapters is not None
        self.laid_over.links.pause(own.device)
        adapters.set_adapter_in_stage(stage, run.flats.get(stage), adapters.shape_of(run.arm.name), buffer.noise)
        out = own.run(x, buffer.positions, buffer.layout)
        if not own.last:
            return out
        losses = counted(self.base.losses_of(out, buffer), buffer, item.asked.weights, item.asked.total)
        return (losses if run.scale == 1 else losses * run.scale).sum()

    def _backward(self, stage: int, item: _Microbatch) -> None:
        x, out, wanted = item.kept.pop(stage)
        run, came = item.asked.run, item.arriving
        self.held[stage] -= 1
        self.graphs[stage] -= out is not None
        if wanted or stage in run.flats:
            self.laid_over.links.pause(self.stages[stage].device)
            self.recomputed[stage] += out is None
            out = self._compute(stage, item, x) if out is None else out
            torch.autograd.backward(out, None if came is None else came.take())
        item.arriving = self._sent(x.grad, stage - 1) if stage and x.grad is not None else None
        if item.last and self.stages[stage].last:
            item.asked.loss = self._sent(item.asked.total[0], 0)
        if item.last and stage in run.flats:
            item.asked.squared_norms.append(self._sent(run.squared_norm(stage), 0))
        self.passed[stage] += 1
        if stage == 0 and item.last:
            self._finish(item.asked)

    def _finish(self, asked: _PendingStep) -> None:
        """Work out loss and norm on the first stage, whose backward was the last, and let all stages have them."""
        run = asked.run
        assert asked.loss is not None
        found = run.loss_and_norm(
            asked.loss.take(), torch.stack([one.take() for one in reversed(asked.squared_norms)]).sum()
        )
        asked.loss_and_norm = {stage: self._sent(found, stage) for stage in run.flats}
        asked.numbers = fetch(found)
        del self.going[run.arm.name]
        run.asked += 1
        self.unread.append(asked)
        if not run.stopped and run.asked < run.steps:
            self.ready.append(run)

    def _update(self, run: ArmRun, stage: int) -> None:
        """Take a stage's part of the optimizer step that is due, as late as can be: the numbers are there by then."""
        for asked in tuple(self.unread):
            if asked.run is run and (found := asked.loss_and_norm.pop(stage, None)) is not None:
                try:
                    run.update(found.take(), asked.step, stage)
                except (RuntimeError, MemoryError) as error:
                    if not is_oom(error):
                        raise
                    # Half done it cannot be done again, and without it the arm would go on as if it had been.
                    raise IikataError(
                        f"memory ran out in training, where step {asked.step + 1} of {run.arm.name} was taken. Train "
                        "fewer arms at once (train.seeds), or lower train.lora.r. What is saved is kept, and a run "
                        "goes on from there: iikata run."
                    ) from error

    def _read(self, ahead: int) -> Iterator[TrainStep]:
        """Read the numbers of all but the last `ahead` steps."""
        while len(self.unread) > ahead:
            asked = self.unread[0]
            for stage in list(asked.loss_and_norm):
                self._update(asked.run, stage)
            self.unread.popleft()
            assert asked.numbers is not None
            if asked.run.stopped:
                asked.run.asked = asked.run.step  # what was asked for beyond is nobody's
                continue
            loss, norm = asked.numbers.read().tolist()
            yield asked.run.finish(loss, norm, asked.batch)
            if asked.run.stopped and asked.run in self.ready:
                self.ready.remove(asked.run)

    def _sent(self, x: Tensor, stage: int) -> Sent:
        return self.laid_over.links.send(x, self.stages[stage].device)
