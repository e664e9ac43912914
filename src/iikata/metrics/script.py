"""script: is the answer written in the script that was asked for?"""

import math
from collections import Counter
from functools import lru_cache

import regex

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Rate
from iikata.metrics.normal import folded

SCRIPTS = {
    "kana": regex.compile(r"[\p{Hiragana}\p{Katakana}]"),
    "han": regex.compile(r"\p{Han}"),
    "latin": regex.compile(r"\p{Latin}"),
    "hangul": regex.compile(r"\p{Hangul}"),
    "letters": regex.compile(r"\p{L}"),
}
JAPANESE_SHARE = 0.3
"""Share of kana and kanji from which a text is Japanese: product names in it are long, kanji words short."""
LONGEST_WITHOUT_KANA = 20
"""Kanji; a longer text without any kana is Chinese."""


class Script(Rate):
    """1 where the answer's script is that of a reference, or of the instruction if no reference has letters.

    Scripts are counted: on short texts language detectors call 富士山 Chinese.
    """

    name = "script"
    category = "form"
    signature = f"script|ja>={JAPANESE_SHARE}|han<={LONGEST_WITHOUT_KANA}|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0; NaN where the answer, or all that asks for it, has no letter (`9`)."""
        wanted = {script_of(reference) for reference in probe.references} - {None}
        wanted = wanted or {script_of(probe.instruction)} - {None}
        written = script_of(answer.text)
        return float(written in wanted) if written and wanted else math.nan


@lru_cache(maxsize=4096)  # references come again with every answer
def script_of(text: str) -> str | None:
    """Return "japanese", "han", "latin", "hangul" or "other"; None for a text without letters."""
    form = folded(text)
    counts = Counter({name: len(script.findall(form)) for name, script in SCRIPTS.items()})
    if not counts["letters"]:
        return None
    japanese = counts["kana"] + counts["han"]
    if japanese >= JAPANESE_SHARE * counts["letters"]:
        return "han" if not counts["kana"] and counts["han"] > LONGEST_WITHOUT_KANA else "japanese"
    rest = {"latin": counts["latin"], "hangul": counts["hangul"]}
    rest["other"] = counts["letters"] - japanese - sum(rest.values())
    return max(rest, key=lambda name: rest[name])
