"""Train every arm over one frozen base: encoded examples in, a stream of steps out."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from iikata.model.varlen import Limits
from iikata.records import TrainStep
from iikata.train.arm_run import ArmRun, Recipe
from iikata.train.turn import Turn, prepare, take

__all__ = ["ArmRun", "Recipe", "train"]


def train(runs: Sequence[ArmRun]) -> Iterator[TrainStep]:
    """Yield the steps of all arms, one step of each unfinished arm in turn; arms of one stack take theirs together.

    Where a buffer holds one arm's samples only, an arm's numbers are those of its solo run, bit for bit on one device.
    """
    if not runs:
        return
    limits = _limits(runs)
    groups = [[run for run in runs if run.stack is stack] for stack in dict.fromkeys(run.stack for run in runs)]
    with _Ahead(limits, threaded=runs[0].base.device.type == "cuda") as ahead:
        while waiting := [group for group in groups if any(not run.done for run in group)]:
            for index, group in enumerate(waiting):
                following = waiting[(index + 1) % len(waiting)]
                yield from take(ahead.turn(group, following))


def _limits(runs: Sequence[ArmRun]) -> Limits:
    longest = max((len(sample.input_ids) for run in runs for sample in run.samples), default=1)
    prefix = max((len(prefix) for run in runs for prefix in run.prefixes), default=0)
    return Limits.over(longest, max(runs[0].recipe.buffer_tokens, longest), prefix)


class _Ahead:
    """Prepares the next turn in a thread while the device does this one."""

    def __init__(self, limits: Limits, threaded: bool) -> None:
        self.limits = limits
        self.worker = ThreadPoolExecutor(1) if threaded else None
        self.next: Future[Turn] | None = None

    def __enter__(self) -> "_Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        if self.worker is not None:
            self.worker.shutdown(cancel_futures=True)

    def turn(self, group: Sequence[ArmRun], following: Sequence[ArmRun]) -> Turn:
        """Return the group's turn, and have the following group's made."""
        runs = [run for run in group if not run.done]
        steps = [run.step for run in runs]
        turn = self.next.result() if self.next is not None else None
        # An arm that was stopped since has no more turns.
        if turn is None or turn.runs != runs or list(turn.steps) != steps:
            turn = prepare(runs, steps, self.limits)
        self.next = self._started(runs, following)
        return turn

    def _started(self, now: Sequence[ArmRun], following: Sequence[ArmRun]) -> "Future[Turn] | None":
        if self.worker is None:
            return None
        wanted = [(run, run.step + (run in now)) for run in following]
        wanted = [(run, step) for run, step in wanted if not run.stopped and step < run.steps]
        if not wanted:
            return None
        return self.worker.submit(prepare, [run for run, _ in wanted], [step for _, step in wanted], self.limits)
