"""pattern: does the probe's own regular expression match the answer?"""

import math

import regex

from iikata.errors import IikataError
from iikata.metrics.metric import AnswerMetric, Context
from iikata.metrics.normal import folded
from iikata.records import Answer, Probe


class Pattern(AnswerMetric):
    """1 where the pattern is found in the answer as it is, or in its folded (NFKC) form."""

    name = "pattern"
    better = "higher"
    bounds = (0.0, 1.0)
    unit = "share of answers"
    kind = "content"

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        """Longest search of one answer: a pattern can take time exponential in the text's length."""
        self.signature = f"pattern|regex|raw,nfkc|s:{seconds:g}|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0; NaN for a probe without a pattern or a search that took too long.

        Raises IikataError where the pattern is no regular expression.
        """
        if not probe.pattern:
            return math.nan
        try:
            texts = dict.fromkeys((answer.text, folded(answer.text)))
            return float(any(regex.search(probe.pattern, text, timeout=self.seconds) for text in texts))
        except TimeoutError:
            return math.nan
        except regex.error as error:
            raise IikataError(
                f'probe "{probe.id}": pattern {probe.pattern!r} is no regular expression: {error}. '
                "Put a backslash before a bracket, dot, star or question mark that is meant as text."
            ) from None
