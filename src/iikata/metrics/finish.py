"""finish: did the answer end by itself?"""

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Rate


class Finish(Rate):
    """1 where the model wrote an end token or a declared stop string before max_new_tokens."""

    name = "finish"
    category = "form"
    signature = "finish|stop|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        return float(answer.finish == "stop")
