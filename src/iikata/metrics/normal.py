"""The form in which an answer and a reference are compared: what they say, not how it is typed."""

import unicodedata
from functools import lru_cache

import regex

from iikata.metrics.numerals import ascii_numbers
from iikata.records import Probe

SIGNATURE = "nfkc|casefold|punct|digits:kanji"

# NFKC leaves these apart: U+2212 and the hyphens from "-", wave dash U+301C from "~" (which U+FF5E becomes).
SAME = {ord(dash): "-" for dash in "\u2010\u2011\u2012\u2013\u2212"} | {0x301C: "~"}
APOSTROPHES = regex.compile(r"(?<=\p{L})['\u2019](?=\p{L})")
# A minus before a number and a point inside one are the number's; all else that is no letter or digit goes.
NOISE = regex.compile(r"(?<![0-9A-Za-z])(-)(?=[0-9])|(?<=[0-9])(\.)(?=[0-9])|[\p{P}\p{Z}\p{C}~`^|]")
JAPANESE = r"[\p{Hiragana}\p{Katakana}\p{Han}ー]"
LOOSE_SPACE = regex.compile(rf"(?<={JAPANESE}) | (?={JAPANESE})")


def folded(text: str) -> str:
    """Return `text` with widths and dashes unified: NFKC, and what it leaves apart."""
    return unicodedata.normalize("NFKC", text).translate(SAME)


@lru_cache(maxsize=4096)
def normal(text: str) -> str:
    """Return `text` folded, lower case, its numbers in digits, without punctuation; words one blank apart.

    No blank stands beside a kana or kanji: 「富士 山」 and 富士山 are the same.
    """
    folds = ascii_numbers(folded(folded(text).casefold()))
    kept = NOISE.sub(lambda match: match[1] or match[2] or " ", APOSTROPHES.sub("", folds))
    return LOOSE_SPACE.sub("", " ".join(kept.split()))


def normal_references(probe: Probe) -> list[str]:
    """Return the probe's references in normal form; those with nothing left are dropped."""
    return [form for reference in probe.references if (form := normal(reference))]


def is_japanese(form: str) -> bool:
    """Return whether a normal form has kana or kanji."""
    return regex.search(JAPANESE, form) is not None


def units(form: str, characters: bool) -> list[str]:
    """Return the characters or the words of a normal form; no tokenizer: they differ on 富士山."""
    return list(form.replace(" ", "")) if characters else form.split()
