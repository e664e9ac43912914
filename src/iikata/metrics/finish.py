"""finish: did the answer end by itself?"""

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric


class Finish(Metric):
    """1 where the model wrote an end token or a declared stop string before max_new_tokens."""

    name = "finish"
    better = "higher"
    bounds = (0.0, 1.0)
    unit = "share of answers"
    category = "form"
    signature = "finish|stop|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0."""
        return float(answer.finish == "stop")
