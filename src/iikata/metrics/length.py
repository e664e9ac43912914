"""length: how long is the answer?"""

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric


class Length(Metric):
    """Characters (Unicode code points) of the answer, blanks at its ends apart; neither way is better."""

    name = "length"
    better = "none"
    bounds = None
    unit = "characters"
    category = "form"
    signature = "length|characters|strip|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        return float(len(answer.text.strip()))
