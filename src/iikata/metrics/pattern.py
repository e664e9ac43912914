"""pattern: does the probe's own regular expression match the answer?"""

import math
from collections import Counter

import regex

from iikata.core.errors import IikataError
from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Rate
from iikata.metrics.normal import folded

MOST_LATE = 3
"""Searches with one pattern that may take too long; the answers after that are not searched."""
MOST_WAITED = 60.0
"""Seconds lost to all patterns together from which on a search gets BRIEF seconds only."""
BRIEF = 0.05


class Pattern(Rate):
    """1 where the pattern is found in the answer as it is, or in its folded (NFKC) form."""

    name = "pattern"

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        """Longest search of one answer: a pattern can take time exponential in the text's length."""
        self.signature = f"pattern|regex|raw,nfkc|s:{seconds:g}|late:{MOST_LATE}|v:1"
        self._scoring: Context | None = None
        self._late: Counter[str] = Counter()
        self._waited = 0.0

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0; NaN for a probe without a pattern, and where a search took too long or too much memory.

        A pattern that was late MOST_LATE times is given up until another `context`: all after it is NaN. Raises
        IikataError where the pattern is no regular expression.
        """
        if context is not self._scoring:
            self._scoring, self._late, self._waited = context, Counter(), 0.0
        if not probe.pattern or self._late[probe.pattern] >= MOST_LATE:
            return math.nan
        seconds = self.seconds if self._waited < MOST_WAITED else min(self.seconds, BRIEF)
        try:
            texts = dict.fromkeys((answer.text, folded(answer.text)))
            return float(any(regex.search(probe.pattern, text, timeout=seconds) for text in texts))
        except (TimeoutError, MemoryError):
            self._late[probe.pattern] += 1
            self._waited += seconds
            return math.nan
        except regex.error as error:
            raise IikataError(
                f'probe "{probe.id}": pattern {probe.pattern!r} is no regular expression: {error}. '
                "Put a backslash before a bracket, dot, star or question mark that is meant as text."
            ) from None

    def remarks(self) -> list[str]:
        """Return a sentence for each pattern that was late in the last scoring."""
        return [
            f"pattern {pattern[:60]!r} took too long {times} times"
            + (", so it was given up: the answers after that have no score" if times >= MOST_LATE else "")
            for pattern, times in self._late.items()
        ]
