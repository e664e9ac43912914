"""repetition: how much of the answer says again what it said before?"""

import math

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric
from iikata.metrics.normal import folded

ORDER = 4
SHORTEST = 30
"""Characters; a shorter answer can hardly repeat itself, and would look better for being short."""


class Repetition(Metric):
    """Share of the answer's character 4-grams that occurred before in it; blanks count as one."""

    name = "repetition"
    better = "lower"
    bounds = (0.0, 1.0)
    unit = "share of 4-grams"
    category = "form"
    signature = f"repetition|nfkc|n:{ORDER}|min:{SHORTEST}|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return the share; NaN for an answer shorter than SHORTEST."""
        text = " ".join(folded(answer.text).split())
        if len(text) < SHORTEST:
            return math.nan
        grams = [text[start : start + ORDER] for start in range(len(text) - ORDER + 1)]
        return 1 - len(set(grams)) / len(grams)
