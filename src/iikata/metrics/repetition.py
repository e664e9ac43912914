"""repetition: how much of the answer says again what it said before?"""

import math

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric
from iikata.metrics.normal import folded


class Repetition(Metric):
    """Share of the answer's character 4-grams that occurred before in it; blanks count as one."""

    name = "repetition"
    better = "lower"
    bounds = (0.0, 1.0)
    unit = "share of 4-grams"
    category = "form"

    def __init__(self, order: int = 4, shortest: int = 30) -> None:
        self.order = order
        self.shortest = shortest
        """Characters; a shorter answer can hardly repeat itself, and would look better for being short."""
        self.signature = f"repetition|nfkc|n:{order}|min:{shortest}|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return the share; NaN for an answer shorter than `shortest` characters."""
        text = " ".join(folded(answer.text).split())
        if len(text) < max(self.shortest, self.order):
            return math.nan
        grams = [text[start : start + self.order] for start in range(len(text) - self.order + 1)]
        return 1 - len(set(grams)) / len(grams)
