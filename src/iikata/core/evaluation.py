"""How an arm in training does on held-out rows, and at which step it did best."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from iikata.core.measured import EXACT, Measured


@dataclass(frozen=True)
class Evaluation:
    """The held-out loss of an arm after some steps, prompted with one of its own templates."""

    __pydantic_config__ = EXACT
    arm: str
    step: int
    """Steps done; at 0 it is the untuned base's."""
    prompted_with: str
    metric: str
    """nll: bits per byte, as `iikata score`; loss: nats a loss token, as in training."""
    value: Measured
    """Mean over the rows, or their loss tokens."""
    rows: int
    """That could be scored."""

    @property
    def cell(self) -> str:
        return f"{self.arm}@{self.prompted_with}"


def lowest(curve: Iterable[Evaluation]) -> Evaluation | None:
    """Return the earliest evaluation with the lowest value; None where none is finite."""
    return min((one for one in curve if math.isfinite(one.value)), key=lambda one: one.value, default=None)


def told(curve: list[Evaluation], steps: int) -> str:
    """Return in a sentence at which of the arm's steps its curve was lowest; nothing is chosen by it."""
    best, last = lowest(curve), curve[-1]
    if best is None:
        return f"{last.cell}: held-out {last.metric} was never a number"
    at = f"{last.cell}: held-out {last.metric} is lowest at step {best.step} of {steps}: {best.value:.4f}"
    return at if best is last else f"{at}; the adapter is that of step {last.step}: {last.value:.4f}"
