"""Train every arm over one frozen base: encoded examples in, a stream of steps out."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from iikata.core.records import TrainStep
from iikata.model.adapters.flat import FlatAdapters
from iikata.model.attention.limits import Room
from iikata.model.graphs import Graphs
from iikata.model.memory import retry_smaller
from iikata.train.arm_run import ArmRun, TrainingArgs
from iikata.train.pipelined import Schedule1F1B
from iikata.train.step import Step, gradients, halve, limits_of, prepare, recordable, update

__all__ = ["ArmRun", "TrainingArgs", "recordable", "train"]


def train(
    runs: Sequence[ArmRun],
    halved: Callable[[int], None] = lambda tokens: None,
    hold: Callable[[ArmRun], bool] = lambda run: False,
) -> Iterator[TrainStep]:
    """Yield the steps of all arms, one step of each unfinished arm in turn; arms of one block take theirs together.

    Where a buffer holds one arm's samples only, an arm's numbers are those of its solo run, bit for bit on one device.
    Where memory runs out, buffers are halved, which `halved` is told, and the turn is done again. Raises IikataError
    where there is nothing to halve.

    Over a base on several devices, arms have been asked for further steps than were told; `hold` says whether an arm's
    weights are wanted as they are after its step `asked`. When that is told, no arm is further than was told of it.
    """
    if not runs:
        return
    if runs[0].base.laid_over:
        yield from Schedule1F1B(runs, hold).steps(halved)
        return
    groups = [[run for run in runs if run.flat is flat] for flat in dict.fromkeys(run.flat for run in runs)]
    ahead = _Prefetcher(runs, threaded=runs[0].base.device.type == "cuda")
    with ahead.worker:
        while waiting := [group for group in groups if any(not run.done for run in group)]:
            for index, group in enumerate(waiting):
                following = waiting[(index + 1) % len(waiting)]
                yield from update(*_computed(ahead, group, following, halved))


def _computed(
    ahead: "_Prefetcher", group: Sequence[ArmRun], following: Sequence[ArmRun], halved: Callable[[int], None]
) -> tuple[Step, Tensor]:
    def turn() -> tuple[Step, Tensor]:
        step = ahead.step(group, following)
        return step, gradients(step, ahead.recorded(group)[0])

    def halve() -> bool:
        ahead.halve()
        halved(group[0].args.buffer_tokens)
        return True

    return retry_smaller(turn, halve)


class _Prefetcher:
    """Prepares the next turn in a thread while the device does this one."""

    def __init__(self, runs: Sequence[ArmRun], threaded: bool) -> None:
        self.runs = runs
        self.limits = limits_of(runs)
        self._recorded: dict[FlatAdapters, tuple[Graphs | None, Room | None]] = {}
        self.worker, self.threaded = ThreadPoolExecutor(1), threaded
        self.next: Future[Step] | None = None

    def step(self, group: Sequence[ArmRun], following: Sequence[ArmRun]) -> Step:
        """Return the group's turn, and have the following group's made."""
        runs = [run for run in group if not run.done]
        steps = [run.step for run in runs]
        ready, self.next = self.next, None
        step = ready.result() if ready is not None else None
        # An arm that was stopped since has no more turns.
        if step is None or step.runs != runs or list(step.steps) != steps:
            step = prepare(runs, steps, self.limits, self.recorded(group)[1])
        self.next = self._started(runs, following)
        return step

    def recorded(self, group: Sequence[ArmRun]) -> tuple[Graphs | None, Room | None]:
        """Return what computes this block's buffers as graphs, and what they are filled up to; None where not so."""
        run = group[0]
        if run.flat not in self._recorded:
            made = (Graphs(run.base.device, "training"), Room(run.args.buffer_tokens))
            self._recorded[run.flat] = made if recordable(run) else (None, None)
        return self._recorded[run.flat]

    def halve(self) -> None:
        """Let every arm's buffers hold half the tokens from now on. Raises IikataError where samples cannot be cut."""
        self.next = None
        self._recorded.clear()
        halve(self.runs)
        self.limits = limits_of(self.runs)

    def _started(self, now: Sequence[ArmRun], following: Sequence[ArmRun]) -> "Future[Step] | None":
        wanted = [(run, run.step + (run in now)) for run in following]
        wanted = [(run, step) for run, step in wanted if not run.stopped and step < run.steps]
        if not (wanted and self.threaded):
            return None
        runs, steps = map(list, zip(*wanted, strict=True))
        return self.worker.submit(prepare, runs, steps, self.limits, self.recorded(following)[1])
