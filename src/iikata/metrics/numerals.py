"""Numbers as people write them in Japanese and English, as ASCII digits."""

import re

DIGITS = {numeral: digit for digit, numeral in enumerate("〇一二三四五六七八九")}
SMALL_UNITS = {"十": 10, "百": 100, "千": 1000}
LARGE_UNITS = {"万": 10**4, "億": 10**8, "兆": 10**12}
MOST_SIGNS = 32
KANJI = "".join([*DIGITS, *SMALL_UNITS, *LARGE_UNITS])
COUNTERS = "個本人名日年月時分秒円枚匹頭羽冊回度歳才階台倍色位点割"
"""After one of these kanji a numeral is a number; after any other it is part of a word (九州, 三角形)."""

RUN = re.compile(f"[0-9{KANJI}]*[{KANJI}][0-9{KANJI}]*")
HAN = re.compile(r"[\u3400-\u9fff々]")
THOUSANDS = re.compile(r"(?<![0-9])(?<![0-9][.,])([0-9]{1,3})((?:,[0-9]{3})+)(?![0-9])")


def ascii_numbers(text: str) -> str:
    """Return NFKC `text` with kanji numerals and thousands separators as plain digits, if they are numbers.

    三千七百七十六メートル -> 3776メートル, 1億2千万円 -> 120000000円, 1,234 -> 1234; 九州 and 統一 stay.
    """
    text = THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    return RUN.sub(lambda match: _digits(match, text), text)


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
    decimal = before == "."
    value = None if in_word or decimal else kanji_value(run)
    return run if value is None else str(value)
