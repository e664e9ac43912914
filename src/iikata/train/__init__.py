"""Train every arm over one frozen base: encoded examples in, a stream of steps out."""

from collections.abc import Iterator, Sequence

from iikata.records import TrainStep
from iikata.train.arm_run import ArmRun, Recipe

__all__ = ["ArmRun", "Recipe", "train"]


def train(runs: Sequence[ArmRun]) -> Iterator[TrainStep]:
    """Yield the steps of all arms, one step of each unfinished arm in turn.

    A buffer holds one arm's samples only, so an arm's numbers are those of its solo run, bit for bit on one device.
    """
    while waiting := [run for run in runs if not run.done]:
        for run in waiting:
            yield run.train_step()
