"""distinct: how different are the samples of one cell to one probe?"""

import math
from collections.abc import Sequence

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric
from iikata.metrics.normal import SIGNATURE, is_japanese, normal, units


class Distinct(Metric):
    """Share of samples, or of their n-grams, that are distinct; neither way is better.

    With `order` n it is distinct-n (Li et al. 2016) over characters (Japanese) or words. Both fall with the
    number of samples, so only cells with equally many may be compared; the signature cannot hold it.
    """

    better = "none"
    bounds = (0.0, 1.0)
    category = "form"
    scope = "group"

    def __init__(self, order: int | None = None) -> None:
        self.order = order
        """None: whole answers."""
        self.name = "distinct" if order is None else f"distinct_{order}"
        self.unit = "share of samples" if order is None else f"share of {order}-grams"
        self.signature = f"{self.name}|{SIGNATURE}|v:2"

    def score_group(self, answers: Sequence[Answer], probe: Probe, context: Context) -> float:
        """Return distinct / all; NaN for fewer than two answers or where no answer has an n-gram."""
        if len(answers) < 2:
            return math.nan
        counted: list[object] = [gram for answer in answers for gram in self._grams(normal(answer.text))]
        return len(set(counted)) / len(counted) if counted else math.nan

    def _grams(self, form: str) -> list[object]:
        if self.order is None:
            return [form]
        parts = units(form, is_japanese(form))
        return [tuple(parts[start : start + self.order]) for start in range(len(parts) - self.order + 1)]
