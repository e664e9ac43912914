"""exact: is the answer a reference and nothing else?"""

import math

from iikata.core.records import Answer, Probe
from iikata.metrics.english import without_articles
from iikata.metrics.metric import Context, Rate
from iikata.metrics.normal import SIGNATURE, answers, normal


class Exact(Rate):
    """1 where the normal forms of the answer and of a reference are the same."""

    name = "exact"
    signature = f"exact|{SIGNATURE}|articles|v:2"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0; NaN for a probe without references."""
        references = [form.replace("%", "") for form in answers(probe.references)]
        return float(normal(without_articles(answer.text)).replace("%", "") in references) if references else math.nan
