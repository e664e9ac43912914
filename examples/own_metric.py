"""A metric of your own: how many sentences has an answer?

Put this file where Python finds it (`PYTHONPATH=examples`) and name it in the experiment:

    score: {metrics: [nll, "own_metric:Sentences"]}
"""

import re

from iikata.core.records import Answer, Probe
from iikata.metrics import Context, Metric


class Sentences(Metric):
    """Sentences of an answer, in English or Japanese; described, and never better or worse."""

    name = "sentences"
    better = "none"
    bounds = None
    unit = "sentences"
    category = "form"
    signature = "sentences|end:.!?。！？|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        return float(len(re.findall(r"[.!?。！？]+(?:\s|$)|[。！？]+", answer.text)) or bool(answer.text.strip()))
