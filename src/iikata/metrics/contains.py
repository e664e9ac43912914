"""contains: does a right answer occur in the text?"""

import math
from functools import lru_cache

import regex

from iikata.core.records import Answer, Probe
from iikata.metrics.english import POSSESSIVE, without_articles
from iikata.metrics.japanese import KATAKANA
from iikata.metrics.metric import Context, Rate
from iikata.metrics.normal import JAPANESE, SIGNATURE, answers, spaced

LETTER = r"[[\p{L}\p{N}]--[\p{Hiragana}\p{Katakana}\p{Han}ー]]"


class Contains(Rate):
    """1 where the normal form of a reference occurs in that of the answer, as whole words and numbers."""

    name = "contains"
    signature = f"contains|{SIGNATURE}|articles|whole:words,numbers,katakana|v:2"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0; NaN for a probe without references."""
        references = answers(probe.references)
        if not references:
            return math.nan
        text = without_articles(answer.text)
        texts = {spaced(text), spaced(POSSESSIVE.sub("", text))}
        return float(any(_whole(reference).search(text) for reference in references for text in texts))


# Words as Unicode divides them (UAX #29): letters with digits, numbers, katakana. "cat" is not in "category", 9 not in
# 19, 0.9, -9 or 9/2, インド not in インドネシア. Hiragana and kanji have no word ends to go by.
ENDS = {
    "[0-9]": (rf"(?<!{LETTER}|[0-9][./]|-)", rf"(?!{LETTER}|[./][0-9])"),
    LETTER: (f"(?<!{LETTER})", rf"(?!{LETTER}|[+#](?!{LETTER}))"),
    KATAKANA: (f"(?<!{KATAKANA})", f"(?!{KATAKANA})"),
}
# The sign may be left out (38% and 38 are one answer in JSQuAD), but 50 people are not 50%.
PERCENT = r"(?:%|(?! ?[\p{L}$€--\p{Hiragana}]))"


@lru_cache(maxsize=4096)
def _whole(reference: str) -> regex.Pattern[str]:
    before = next((ends[0] for kind, ends in ENDS.items() if regex.match(kind, reference[0], regex.V1)), "")
    after = next((ends[1] for kind, ends in ENDS.items() if regex.match(kind, reference[-1], regex.V1)), "")
    loose = regex.sub(rf"(?<={JAPANESE})(?!$)|(?<!^)(?={JAPANESE})", "\0", reference).split("\0")
    body = " ?".join(map(regex.escape, loose)).replace("%", PERCENT)
    return regex.compile(before + body + after, regex.V1)
