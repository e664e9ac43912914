"""The form in which an answer and a reference are compared: what they say, not how it is typed; docs/metrics.md."""

import unicodedata
from functools import lru_cache

import regex

from iikata.core.records import Probe
from iikata.metrics import english, japanese
from iikata.metrics.english import without_articles
from iikata.metrics.numerals import ascii_numbers, ungrouped
from iikata.metrics.units import unified

SIGNATURE = "nfkc|casefold|punct|numbers|units|spellings:en,ja"

# NFKC leaves these apart: U+2212 and the hyphens from "-", wave dash U+301C from "~" (which U+FF5E becomes).
SAME = {ord(dash): "-" for dash in "\u2010\u2011\u2012\u2013\u2212"} | {0x301C: "~"}
APOSTROPHES = regex.compile(r"(?<=\p{L})['\u2019](?=\p{L})")
# A number keeps its minus, point, stroke (1/2, but not a date's) and percent, a name its # (C#, as + is in C++); all
# else that is no letter or digit goes.
NOISE = regex.compile(
    r"(?<![0-9A-Za-z])(?<![0-9]\p{L}{1,2})(-)(?=[0-9])|(?<=[0-9])(\.)(?=[0-9])|(?<=(?<![0-9/])[0-9]+)(/)(?=[0-9]+(?![0-9/]))|(?<=[0-9])(%)"
    r"|(?<=\p{Latin})(#)(?!\p{L})|[\p{P}\p{Z}\p{C}~`^|]"
)
PLAIN_NOISE, KEPT_SIGN = regex.compile(r"[\p{P}\p{Z}\p{C}~`^|]+"), regex.compile("[0-9#]")
"""NOISE where nothing is kept, as there is neither a digit nor a #: half of the time."""
JAPANESE = r"[\p{Hiragana}\p{Katakana}\p{Han}ー]"
LOOSE_SPACE = regex.compile(rf"(?<={JAPANESE}) | (?={JAPANESE})")


def folded(text: str) -> str:
    """Return `text` with widths and dashes unified: NFKC, and what it leaves apart."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(SAME)


@lru_cache(maxsize=4096)
def spaced(text: str) -> str:
    """Return `text` in normal form with one blank for whatever stood between two words, between kana and kanji too."""
    cased = english.respelt(folded(ungrouped(text)))
    plain = ascii_numbers(english.unaccented(folded(cased.casefold())).translate(japanese.KANJI))
    spelt = APOSTROPHES.sub("", japanese.respelt(unified(plain)))
    if KEPT_SIGN.search(spelt):
        return " ".join(NOISE.sub(lambda match: match[0] if match.lastindex else " ", spelt).split())
    return " ".join(PLAIN_NOISE.sub(" ", spelt).split())


def normal(text: str) -> str:
    """Return `text` folded, lower case, its numbers in digits, without punctuation; words one blank apart.

    No blank stands beside a kana or kanji: 「富士 山」 and 富士山 are the same.
    """
    return LOOSE_SPACE.sub("", spaced(text))


def normal_references(probe: Probe) -> list[str]:
    """Return the probe's references in normal form; those with nothing left are dropped."""
    return [form for reference in probe.references if (form := normal(reference))]


@lru_cache(maxsize=4096)
def answers(references: tuple[str, ...]) -> list[str]:
    """Return the normal forms of a probe's references without articles: what a right answer says."""
    return [form for reference in references if (form := normal(without_articles(reference)))]


def is_japanese(form: str) -> bool:
    """Return whether a normal form has kana or kanji."""
    return regex.search(JAPANESE, form) is not None


def units(form: str, characters: bool) -> list[str]:
    """Return the characters or the words of a normal form; no tokenizer: they differ on 富士山."""
    return list(form.replace(" ", "")) if characters else form.split()
