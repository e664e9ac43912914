"""Numbers as people write them in Japanese and English, as ASCII digits."""

import re
from decimal import Decimal

DIGITS = {numeral: digit for digit, numeral in enumerate("〇一二三四五六七八九")} | {"零": 0}
SMALL_UNITS = {"十": 10, "百": 100, "千": 1000}
LARGE_UNITS = {"万": 10**4, "億": 10**8, "兆": 10**12}
MOST_SIGNS = 32
KANJI = "".join([*DIGITS, *SMALL_UNITS, *LARGE_UNITS])
COUNTERS = "個箇本人名日年月時分秒円枚匹頭羽冊回度歳才階台倍色位点割世次級号章条巻件丁週以未"
"""After one of these kanji a numeral is a number; after any other it is part of a word (九州, 三角形)."""

RUN = re.compile(f"(?<![0-9{KANJI}])[0-9{KANJI}]*[{KANJI}][0-9{KANJI}]*")
DIGIT, NUMERAL = re.compile("[0-9]"), re.compile(f"[0-9{KANJI}]")
"""Every pattern here needs one: a text that has none takes a tenth of the time."""
HAN = re.compile(r"[\u3400-\u9fff々]")
INDEFINITE = "何数幾"
"""Beside one of these a numeral is no number: 何百人, 数十年, 十数人."""
# CLDR groups by a comma, a narrow blank (SI, French) or an apostrophe (Swiss).
THOUSANDS = re.compile(
    r"(?<![0-9])(?<![0-9][.,])[0-9]{1,3}(?:([,'’\u2009\u202f\u00a0])[0-9]{3})(?:\1[0-9]{3})*(?![0-9])"
)
VULGAR = re.compile(r"(?<=[0-9])(?=[¼-¾⅐-⅞])")
"""NFKC makes 11⁄2 of 1½ (UAX #15): a blank keeps them apart."""
MINUS = re.compile(r"(?:マイナス ?|(?<![0-9] )(?<![0-9])\b(?:minus|negative) )(?=[0-9])", re.IGNORECASE)
PARTS = re.compile(r"(?<![0-9])([0-9]+)分の([0-9]+)")
NO_WHOLE = re.compile(r"(?<![\w.])\.(?=[0-9])")
TIMES = re.compile(r"(?<=[0-9])(?<!(?<![0-9])0)[x×](?=[0-9])")
"""Of 2x3 and 1920×1080; not of 0x10."""
LAST_ZEROS = re.compile(r"(?<![0-9.])(?:([0-9]+)\.0+|(0\.[0-9]*[1-9])0+)(?![0-9]|\.[0-9])")
"""Of 18.00 and 0.50; not of 3.10, which may be a version."""
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, **LARGE_UNITS}
SCALED = re.compile(rf"(?<![0-9.])([0-9]{{1,12}}(?:\.[0-9]{{1,12}})?) ?({'|'.join(SCALES)})(?![A-Za-z])", re.IGNORECASE)


def ungrouped(text: str) -> str:
    """Return raw `text` without thousands separators, before NFKC makes every narrow blank a blank."""
    if not DIGIT.search(text):
        return text
    return VULGAR.sub(" ", THOUSANDS.sub(lambda match: match[0].replace(match[1], ""), text))


def ascii_numbers(text: str) -> str:
    """Return NFKC `text` with its numbers as plain digits, kanji numerals if they are numbers.

    三千七百七十六メートル -> 3776メートル, 1億2千万円 -> 120000000円, 1.5 million -> 1500000, 18.00 -> 18,
    二分の一 -> 1/2, マイナス5 -> -5; 九州 and 統一 stay.
    """
    text = ungrouped(text).replace("\u2044", "/")
    if not NUMERAL.search(text):
        return text
    text = TIMES.sub(" x ", text)
    text = RUN.sub(lambda match: _digits(match, text), text)
    text = PARTS.sub(r"\2/\1", MINUS.sub("-", SCALED.sub(_scaled, text)))
    return LAST_ZEROS.sub(lambda match: match[1] or match[2], NO_WHOLE.sub("0.", text))


def _scaled(match: re.Match[str]) -> str:
    value = Decimal(match[1]) * SCALES[match[2].lower()]
    return str(int(value)) if value == int(value) else match[0]


def kanji_value(run: str) -> int | None:
    """Return the number that a run of kanji numerals and ASCII digits stands for, or None: 万一 is none."""
    if len(run) > MOST_SIGNS:
        return None
    if all(sign in DIGITS for sign in run):
        return int("".join(str(DIGITS[sign]) for sign in run))
    total = part = 0
    count: int | None = None
    smallest, smallest_large = 10**4, 10**16
    for piece in re.findall(r"[0-9]+|.", run):
        if piece in LARGE_UNITS:
            unit, value = LARGE_UNITS[piece], part + (count or 0)
            if not value or unit >= smallest_large:
                return None
            total, part, count, smallest, smallest_large = total + value * unit, 0, None, 10**4, unit
        elif piece in SMALL_UNITS:
            unit = SMALL_UNITS[piece]
            if unit >= smallest or count == 0:
                return None
            part, count, smallest = part + (1 if count is None else count) * unit, None, unit
        elif count is not None:
            return None
        else:
            count = DIGITS[piece] if piece in DIGITS else int(piece)
    return total + part + (count or 0)


def _digits(match: re.Match[str], text: str) -> str:
    run, before, after = match[0], text[: match.start()][-1:], text[match.end() :][:1]
    # 十分 is "enough" more often than ten minutes.
    counted = after != "" and after in COUNTERS and run + after != "十分"
    in_word = (HAN.match(after) and not counted) or (
        HAN.match(before) and before != "第" and len(run) == 1 and not counted
    )
    uncounted = before == "." or any(one in INDEFINITE for one in before + after)
    value = None if in_word or uncounted else kanji_value(run)
    return run if value is None else str(value)
