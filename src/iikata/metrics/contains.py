"""contains: does a right answer occur in the text?"""

import math
from functools import lru_cache

import regex

from iikata.metrics.metric import AnswerMetric, Context
from iikata.metrics.normal import SIGNATURE, normal, normal_references
from iikata.records import Answer, Probe

LETTER = r"[\p{L}--[\p{Hiragana}\p{Katakana}\p{Han}]]"


class Contains(AnswerMetric):
    """1 where the normal form of a reference occurs in that of the answer, as whole words and numbers."""

    name = "contains"
    better = "higher"
    bounds = (0.0, 1.0)
    unit = "share of answers"
    kind = "content"
    signature = f"contains|{SIGNATURE}|whole:words,numbers|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0; NaN for a probe without references."""
        references = normal_references(probe)
        if not references:
            return math.nan
        text = normal(answer.text)
        return float(any(_whole(reference).search(text) for reference in references))


@lru_cache(maxsize=4096)
def _whole(reference: str) -> regex.Pattern[str]:
    # "cat" is not in "category", 9 is not in 19, 0.9 or -9. Kana and kanji have no word ends to go by.
    before = r"(?<![0-9.\-])" if reference[0].isdigit() else ""
    after = r"(?![0-9]|\.[0-9])" if reference[-1].isdigit() else ""
    if regex.match(LETTER, reference[0], regex.V1):
        before = f"(?<!{LETTER})"
    if regex.match(LETTER, reference[-1], regex.V1):
        after = f"(?!{LETTER})"
    return regex.compile(before + regex.escape(reference) + after, regex.V1)
