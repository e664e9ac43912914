"""rouge_l: the longest common subsequence of answer and reference, as F1. (Lin 2004)"""

import math
from collections.abc import Sequence

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric
from iikata.metrics.normal import SIGNATURE, is_japanese, normal, normal_references, units


class RougeL(Metric):
    """ROUGE-L over characters where the reference is Japanese and over words elsewhere, no stemming.

    Own code because the rouge-score package drops every kana and kanji and gives equal Japanese texts 0.
    """

    name = "rouge_l"
    better = "higher"
    bounds = (0.0, 1.0)
    unit = "F1"
    category = "content"
    signature = f"rouge_l|{SIGNATURE}|units:char(ja),word|refs:best|v:2"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return the best F1 over the references; NaN for a probe without references."""
        references = normal_references(probe)
        text = normal(answer.text)
        return max((_f1(text, reference) for reference in references), default=math.nan)


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, bit-parallel (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, unit in enumerate(a):
        places[unit] = places.get(unit, 0) | 1 << place
    every = row = (1 << len(a)) - 1
    for unit in b:
        matches = row & places.get(unit, 0)
        row = (row + matches | row - matches) & every
    return len(a) - row.bit_count()


def _f1(text: str, reference: str) -> float:
    characters = is_japanese(reference)
    wanted, found = units(reference, characters), units(text, characters)
    common = longest_common(wanted, found)
    return 2 * common / (len(wanted) + len(found))
