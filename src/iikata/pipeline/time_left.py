"""How long the cells that are not scored yet will take."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from statistics import median

from iikata.core.records import Cell


class TimeLeft:
    """Takes every cell to be as long as those with its prompt: examples in it make one many times as long."""

    def __init__(self, cells: Sequence[Cell], now: Callable[[], float] = time.monotonic) -> None:
        self._left = Counter(cell.prompted_with for cell in cells)
        self._took: dict[str, list[float]] = {}
        self._now, self._at = now, now()

    def after(self, cell: Cell) -> float:
        """Return the seconds that are left once this cell is done."""
        before, self._at = self._at, self._now()
        self._took.setdefault(cell.prompted_with, []).append(self._at - before)
        self._left[cell.prompted_with] -= 1
        # The median, not the mean: the first cell of all opens the model.
        usual = median(chain.from_iterable(self._took.values()))
        one = {kind: median(took) for kind, took in self._took.items()}
        return sum(count * one.get(kind, usual) for kind, count in self._left.items())
