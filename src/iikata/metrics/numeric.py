"""numeric: is the number that the answer comes to the right one?"""

import math
import re
from fractions import Fraction

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Rate
from iikata.metrics.normal import folded
from iikata.metrics.numerals import ascii_numbers, ungrouped

MOST_DIGITS = 100
"""A longer run of digits is a loop, not a number."""
FRACTION = r"(?:([0-9]+) )?([0-9]+/0*[1-9][0-9]*)(?![0-9/])"
NUMBER = re.compile(rf"((?:(?<![0-9A-Za-z])-)?)(?<![0-9A-Za-z./])(?:{FRACTION}|([0-9]+(?:\.[0-9]+)?))")


class Numeric(Rate):
    """1 where the answer's last number equals a number of the references."""

    name = "numeric"
    signature = "numeric|last|nfkc|numbers|v:2"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0 (also for an answer without a number); NaN where no reference has a number."""
        wanted = {number for reference in probe.references for number in numbers(reference)}
        if not wanted:
            return math.nan
        found = numbers(answer.text)
        return float(bool(found) and found[-1] in wanted)


def numbers(text: str) -> list[Fraction]:
    """Return the numbers in `text` in order: any width, kanji numerals, 1,234, 1 1/2, and U+2212 for minus."""
    found = NUMBER.findall(ascii_numbers(folded(ungrouped(text))))
    return [
        (Fraction(whole or 0) + Fraction(part) if part else Fraction(plain)) * (-1 if minus else 1)
        for minus, whole, part, plain in found
        if len(whole + part + plain) <= MOST_DIGITS
    ]
